from swathe.engine.evaluation import EvaluationResult as EvaluationResult
from swathe.engine.evaluation import SceneArrays as SceneArrays
from swathe.engine.evaluation import SourceArrays as SourceArrays
from swathe.engine.evaluation import evaluate as evaluate

__version__: str
