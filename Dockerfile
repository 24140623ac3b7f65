# Two images: `core` (API, CPU worker, schedule, commands) and `gpu` (the same with PyTorch for embeddings).
# Every package is pinned and hashed by a lock file; nothing is compiled or fetched when a container starts.

FROM python:3.11-slim-bookworm AS base
ENV PATH=/opt/aroma/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AROMA_HOME=/data \
    NUMBA_CACHE_DIR=/cache/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    HF_HOME=/cache/hub
# libgomp is what LightGBM needs of the system; Debian's security updates are wanted, so its version is not pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin aroma \
    && install --directory --owner aroma --group aroma --mode 0750 /data /cache /backups

FROM base AS tools
WORKDIR /build
COPY requirements-install.lock ./
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --requirement requirements-install.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/tools/bin/hatchling build --target wheel --directory /wheels

FROM tools AS core-packages
COPY requirements-service.lock ./
RUN python -m venv --without-pip /opt/aroma \
    && /opt/tools/bin/uv pip install --no-cache --python /opt/aroma/bin/python --require-hashes \
        --requirement requirements-service.lock \
    && /opt/tools/bin/uv pip install --no-cache --python /opt/aroma/bin/python --no-deps /wheels/*.whl

FROM tools AS gpu-packages
COPY requirements-gpu.lock ./
RUN python -m venv --without-pip /opt/aroma \
    && /opt/tools/bin/uv pip install --no-cache --python /opt/aroma/bin/python --require-hashes \
        --requirement requirements-gpu.lock \
    && /opt/tools/bin/uv pip install --no-cache --python /opt/aroma/bin/python --no-deps /wheels/*.whl

FROM base AS gpu
COPY --from=gpu-packages /opt/aroma /opt/aroma
USER 10001:10001
WORKDIR /tmp
CMD ["aroma", "--help"]

FROM base AS core
COPY --from=core-packages /opt/aroma /opt/aroma
USER 10001:10001
WORKDIR /tmp
CMD ["aroma", "--help"]
