"""What the tests of the pages do not run themselves, and why."""

from __future__ import annotations

from doc_pages import Block

PROGRAMS = ("python", "sh")
DATA = ("json", "toml", "yaml", "js")
NOTHING_TO_RUN = ("text",)  # output, formulas, drawings

NOT_RUN_HERE = {
    ("docs/cli.md", "swathe client"): "parsed by tests/io/test_cli_docs.py, and run as docs/operate.md has it",
    ("docs/cli.md", "swathe jobs"): "parsed by tests/io/test_cli_docs.py, and run as docs/operate.md has it",
    ("docs/cli.md", "swathe budget"): "parsed by tests/io/test_cli_docs.py, and run as docs/operate.md has it",
    ("docs/cli.md", "swathe worker"): "does not end; started by tests/system/test_runner_cluster.py",
    (
        "docs/coming-from-sentinel-hub.md",
        "import { addAxios",
    ): "run with node by tests/conformance/test_published_js.py",
    ("docs/layers.md", "gdalinfo"): "such addresses are opened by GDAL in tests/conformance/test_layers_over_http.py",
    ("docs/layers.md", "curl"): "such addresses are asked by tests/conformance/test_layers_values.py",
    ("docs/openapi.md", "SWATHE_EXAMPLES=200"): "takes long; CI runs tests/conformance/test_schemathesis.py with fewer",
    ("docs/operate.md", "dask scheduler"): "both are started by tests/system/test_runner_cluster.py",
    ("docs/operate.md", "from dask_jobqueue"): "wants Slurm",
    ("docs/operate.md", "sbatch"): "wants Slurm",
    ("docs/operate.md", "upstream swathe"): "nginx's, which is not installed in CI",
    ("docs/operate.md", "swathe serve --home /var/lib"): "machines on a PostgreSQL: tests/system/test_faults.py",
    ("docs/performance.md", "pip install -e"): "takes minutes; tests/unit/test_benchmark_main_job.py has a small one",
}
INSTALLING = ("docs/notebooks.md",)
RUN_BY_ANOTHER = {"docs/results.md": "tests/io/test_results_docs.py"}


def reason_not_to_run(block: Block) -> str | None:
    for (page, beginning), reason in NOT_RUN_HERE.items():
        if block.page == page and block.first_line.startswith(beginning):
            return reason
    return None
