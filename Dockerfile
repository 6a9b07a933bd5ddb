# syntax=docker/dockerfile:1
# InstructRec and, for the T5X runner, T5X; for TPU VMs, GKE and GPU clusters.
#
#   docker build --build-arg ACCELERATOR=tpu --tag instructrec:tpu .
#   docker build --build-arg ACCELERATOR=cuda --tag instructrec:cuda .
#
# Packages have the versions of requirements/; T5X and its kin the commits of
# requirements/t5x.txt.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:b18992999dbe963a45a8a4da40ac2b1975be1a776d939d098c647482bcad5cba

FROM ${PYTHON_IMAGE} AS build
ARG ACCELERATOR
RUN case "${ACCELERATOR}" in tpu|cuda) ;; *) \
      echo "ACCELERATOR='${ACCELERATOR}', expected tpu or cuda: --build-arg ACCELERATOR=tpu" >&2; exit 1 ;; \
    esac
RUN apt-get update && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH} PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements/ requirements/
COPY setup.py pyproject.toml README.md LICENSE MANIFEST.in CHANGELOG.md ./
COPY instructrec/ instructrec/
COPY tasks/ tasks/
COPY gin/ gin/
RUN pip install --constraint requirements/py311.txt \
      --constraint requirements/py311-accelerators.txt ".[${ACCELERATOR},t5x]" \
    && pip install --no-deps --requirement requirements/t5x.txt

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/venv /opt/venv
# The folder that holds t5x/train.py.
ENV PATH=/opt/venv/bin:${PATH} \
    T5X_DIR=/opt/venv/lib/python3.11/site-packages \
    PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 instructrec
WORKDIR /home/instructrec
COPY --chown=instructrec:instructrec gin/ gin/
COPY --chown=instructrec:instructrec launch/ launch/
USER instructrec
CMD ["instructrec", "--help"]
