# ecamp-fast from the lock. In the root of a clean checkout:
#   docker build --tag ecamp-fast .
#   docker run --rm --gpus all --shm-size=8g --volume /data:/data ecamp-fast train --recipe paper --data /data/shards --out /data/run
# docs/install.md says more. For an image that is the same next year, write the digest of the base behind its name.
FROM debian:bookworm-slim

# Python 3.11, and a C compiler with Python's headers, which Triton needs at run time.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# What is installed is what the lock names, byte for byte; the layer is kept while the lock stays.
RUN python3 -m venv /opt/ecamp-fast
COPY requirements.lock /src/
RUN /opt/ecamp-fast/bin/python -m pip install --no-input --no-cache-dir --require-hashes --no-deps -r /src/requirements.lock

COPY pyproject.toml README.md LICENSE /src/
COPY .ci/sbom.py .ci/wheel.py /src/.ci/
COPY ecamp_fast /src/ecamp_fast/
COPY kernels /src/kernels/
COPY shards /src/shards/
COPY bench /src/bench/
RUN /opt/ecamp-fast/bin/python /src/.ci/wheel.py /src/dist \
    && /opt/ecamp-fast/bin/python -m pip install --no-input --no-deps --no-index /src/dist/*.whl \
    && rm -rf /src

# Not root; a home of its own for compiled kernels. With --user another name, HOME must be a folder that it may write.
RUN useradd --create-home --uid 1000 ecamp
USER ecamp
WORKDIR /home/ecamp
ENV PATH=/opt/ecamp-fast/bin:/usr/local/bin:/usr/bin:/bin PYTHONNOUSERSITE=1 HF_HUB_OFFLINE=1

# Loads what a run loads: no more often than is worth the seconds of a core.
HEALTHCHECK --interval=1h --timeout=2m --start-period=2m CMD ["ecamp-fast", "doctor"]
ENTRYPOINT ["ecamp-fast"]
CMD ["--help"]
