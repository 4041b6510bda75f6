"""What becomes of the keys of `dataFilter` and `processing` that only some collections have.

What items can answer chooses scenes. What would change the numbers is not computed here: it is taken where the files hold
just that, else refused, so that nobody gets other numbers than were asked for. A definition's `keys` say which of them
concern its collection; others are left aside. All of them concern collections without a definition. Reads nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swathe.catalog.scene import Scene
from swathe.model.common import DataFilter, DataSource, SpeckleFilter
from swathe.model.errors import RequestInvalid
from swathe.model.filters import BackCoeff, Held, SpeckleFilterType

# What ESA calls its products: mode, resolution, polarisation.
_PRODUCT = re.compile(r"S1[A-Z]_(IW|EW|WV|SM|S[1-6]|EN|AN|IM)_GRD([FHM])_\dS([SD][HV]|[HV]{2})_")
_RESOLUTIONS = {"F": "FULL", "H": "HIGH", "M": "MEDIUM"}
_BANDS = ("HH", "HV", "VH", "VV")
# The tokens of an item's answer that a wanted value takes, where it is not the value itself.
_MEANS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "polarization": {
        **{name: frozenset({name}) for name in _BANDS},
        **{"SH": frozenset({"HH"}), "SV": frozenset({"VV"})},
        **{"DH": frozenset({"HH+HV"}), "DV": frozenset({"VH+VV"})},
    },
    "tiers": {"TIER_1": frozenset({"T1"}), "TIER_1_AND_RT": frozenset({"T1", "RT"})},
}
_EVERYTHING = ("tiers", "ALL_TIERS")


def _text(scene: Scene, *names: str) -> str | None:
    """The first of some properties that is a text, in capitals."""
    said = (scene.properties.get(name) for name in names)
    return next((value.strip().upper() for value in said if isinstance(value, str) and value.strip()), None)


def _of_name(scene: Scene, part: int) -> str | None:
    found = _PRODUCT.match(scene.id.upper())
    return found[part] if found is not None else None


def _mode(scene: Scene) -> str | None:
    told = _text(scene, "sar:instrument_mode") or _of_name(scene, 1)
    return "SM" if told is not None and re.fullmatch("S[1-6]", told) else told


def _polarization(scene: Scene) -> str | None:
    """The bands of the product, like VH+VV; where neither item nor name say it, those that there are files of."""
    told = scene.properties.get("sar:polarizations")
    if isinstance(told, list) and told:
        return "+".join(sorted({str(name).upper() for name in told}))
    named = _of_name(scene, 3)
    if named is not None:
        return "+".join(sorted(_MEANS["polarization"][named]))
    return "+".join(sorted({key.upper() for key in scene.assets} & set(_BANDS))) or None


def _resolution(scene: Scene) -> str | None:
    """What the item or the product's name say; IW products over land are all of high resolution."""
    told = _text(scene, "s1:resolution") or _RESOLUTIONS.get(_of_name(scene, 2) or "")
    return told or ("HIGH" if _mode(scene) == "IW" else None)


def _timeliness(scene: Scene) -> str | None:
    """Archives write NRT-3h, Fast-24h; requests do without the hyphen."""
    told = _text(scene, "s1:timeliness", "s1:product_timeliness", "product:timeliness_category")
    return None if told is None else re.sub("[^A-Z0-9]", "", told)


def _constellation(scene: Scene) -> str | None:
    instruments = scene.properties.get("instruments")
    said = " ".join(
        [
            _text(scene, "constellation") or "",
            _text(scene, "platform") or "",
            *(str(name).upper() for name in (instruments if isinstance(instruments, list) else ())),
            scene.id.upper(),
        ]
    )
    for name, signs in {"SENTINEL": r"SENTINEL-?2|\bMSI\b|HLS\.?S30", "LANDSAT": r"LANDSAT|\bOLI\b|HLS\.?L30"}.items():
        if re.search(signs, said):
            return name
    return None


_READERS: Mapping[str, Callable[[Scene], str | None]] = {
    "orbitDirection": lambda scene: _text(scene, "sat:orbit_state"),
    "acquisitionMode": _mode,
    "polarization": _polarization,
    "resolution": _resolution,
    "timeliness": _timeliness,
    "tiers": lambda scene: _text(scene, "landsat:collection_category"),
    "constellation": _constellation,
}
"""What an item says, by the key of `dataFilter` that asks for it."""

# Keys whose value the numbers depend on, with the part of the request that has them.
_FIXED = (
    ("dataFilter", "demInstance"),
    *(("processing", key) for key in ("backCoeff", "orthorectify", "demInstance", "radiometricTerrainOversampling")),
    *(("processing", key) for key in ("speckleFilter", "egm", "clampNegative", "view", "minQa")),
)
# Keys that go with another one.
_TERRAIN = {("processing", key): "orthorectify" for key in ("demInstance", "radiometricTerrainOversampling")}
_REMEDIES = {
    "speckleFilter": "leave it out, or filter the files beforehand",
    "clampNegative": "leave it out, and write Math.max(0, sample.DEM) in the evalscript",
}


@dataclass(frozen=True)
class SourceKeys:
    """What may be asked of one source of a collection. `keys` are those that concern it, None for all."""

    type: str
    keys: tuple[str, ...] | None
    holds: Held

    def concerns(self, key: str) -> bool:
        """Whether a key of a request means something for this collection."""
        return self.keys is None or key in self.keys

    def refused(self, source: DataSource) -> tuple[str, str] | None:
        """The part of the request and the key that asks for other numbers than the files hold; None where none does."""
        for part, key in _FIXED:
            if self.concerns(_TERRAIN.get((part, key), key)) and not self._has(source, part, key):
                return part, key
        return None

    def held(self, key: str) -> Any:
        """What the files hold by the configuration or the definition; None where it is not said."""
        return getattr(self.holds, _attribute(Held, key), None)

    def _has(self, source: DataSource, part: str, key: str) -> bool:
        value = _asked(source, part, key)
        if value is None or value == self.held(key):
            return True
        if isinstance(value, SpeckleFilter):
            return value.type is SpeckleFilterType.NONE
        if key in ("egm", "clampNegative"):
            return value is False and self.held(key) is None
        processing = source.processing
        if (part, key) in _TERRAIN:  # how terrain is corrected, if that is asked for
            return not processing.orthorectify and processing.back_coeff is not BackCoeff.GAMMA0_TERRAIN
        return key == "orthorectify" and value is False


def check_keys(source: DataSource, sources: Sequence[SourceKeys], where: str) -> None:
    """Checks that some source of a collection holds the numbers that a request asks for; `where` is the data source.

    Raises:
        RequestInvalid: none does; with the key, what there is, and the remedy.
    """
    refusals = [keys.refused(source) for keys in sources]
    if any(refusal is None for refusal in refusals) or not refusals or refusals[0] is None:
        return
    part, key = refusals[0]
    value = _shown(_asked(source, part, key))
    held = sorted({_shown(told) for keys in sources if (told := keys.held(key)) is not None})
    if held:
        remedy = f"its files hold {' or '.join(held)}: ask for that, or leave it out"
    elif key in _REMEDIES:
        remedy = _REMEDIES[key]
    else:
        remedy = (
            "leave it out to take the files as they are; if that is what they hold, the operator says so"
            f" with `holds.{key}` in the collection's configuration"
        )
    raise RequestInvalid(
        f"{key} {value} is not computed for collection '{sources[0].type}'; {remedy}", f"{where}->{part}->{key}"
    )


@dataclass
class SceneChoice:
    """The scenes that a data source asks for, taken from one source of the collection after another.

    A scene that does not answer is left out: whoever asks for one direction of flight does not want a mixture.
    """

    data_filter: DataFilter
    _seen: int = 0
    _kept: int = 0
    _silent: Counter[str] = field(default_factory=Counter)

    def take(self, scenes: Iterable[Scene], keys: SourceKeys) -> list[Scene]:
        """Those of the scenes of one source that answer as is wanted."""
        wanted = {key: value for key in _READERS if keys.concerns(key) and (value := self._wanted(key)) is not None}
        if not wanted:
            return list(scenes)
        kept = []
        for scene in scenes:
            self._seen += 1
            told = {key: self._told(scene, key, keys) for key in wanted}
            self._silent.update(key for key, tokens in told.items() if tokens is None)
            if all(tokens is not None and tokens <= wanted[key] for key, tokens in told.items()):
                kept.append(scene)
        self._kept += len(kept)
        return kept

    def check(self, type_name: str, where: str, notes: list[str] | None = None) -> None:
        """Checks that the scenes could be asked, and notes how many of them could not, and if none was chosen.

        Raises:
            RequestInvalid: there are scenes, and none of them answers one of the keys.
        """
        for key, count in self._silent.items():
            if count == self._seen:
                raise RequestInvalid(
                    f"None of the {count} scenes of collection '{type_name}' here says its {key}; leave it out, or have the"
                    f" operator say what the files hold with `holds.{key}` in the collection's configuration",
                    f"{where}->dataFilter->{key}",
                )
            if notes is not None:
                notes.append(f"{count} of {self._seen} scenes of '{type_name}' do not say their {key} and are left out")
        if notes is not None and self._seen and not self._kept:
            notes.append(f"Of the {self._seen} scenes of '{type_name}' here dataFilter chooses none")

    def _wanted(self, key: str) -> frozenset[str] | None:
        value = getattr(self.data_filter, _attribute(DataFilter, key))
        return None if value is None or (key, value) == _EVERYTHING else _tokens(key, str(value))

    @staticmethod
    def _told(scene: Scene, key: str, keys: SourceKeys) -> frozenset[str] | None:
        told = _READERS[key](scene)
        if told is not None:
            return frozenset({told})
        held = keys.held(key)
        return None if held is None else _tokens(key, str(held))


def _tokens(key: str, value: str) -> frozenset[str]:
    return _MEANS.get(key, {}).get(value, frozenset({value.upper()}))


def _asked(source: DataSource, part: str, key: str) -> Any:
    owner = source.data_filter if part == "dataFilter" else source.processing
    return getattr(owner, _attribute(type(owner), key))


def _attribute(model: Any, key: str) -> str:
    """The name of a model's field in Python, by the key on the wire."""
    return next((name for name, told in model.model_fields.items() if told.alias == key), key)


def _shown(value: Any) -> str:
    """A value as it is written in JSON."""
    if isinstance(value, SpeckleFilter):
        return str(value.type)
    return str(value).lower() if isinstance(value, bool) else str(value)
