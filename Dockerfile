# One image for gateway, worker and agent; docker-compose.temporal.yml says what each runs.
ARG PYTHON=python:3.11.15-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1

# uv itself, of the version and with the hashes of the lock.
COPY requirements.lock ./
RUN sed -n '/^uv==/,/# via/p' requirements.lock > uv.txt \
    && pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r uv.txt

# The lock holds what everybody needs, tests included. Resolving over a copy of it keeps its
# versions and hashes and leaves out what the image does not need.
COPY pyproject.toml ./
RUN cp requirements.lock image.txt \
    && uv pip compile --quiet pyproject.toml --extra server --extra client --universal \
       --python-version 3.11 --generate-hashes --no-emit-index-url -o image.txt \
    && uv venv --quiet /opt/gamepipe \
    && uv pip install --quiet --python /opt/gamepipe --require-hashes -r image.txt

COPY README.md worker.py ./
COPY gamepipe gamepipe
COPY workflows workflows
COPY activities activities
COPY gateway gateway
COPY store store
RUN uv build --quiet --wheel --build-constraints requirements.lock --require-hashes --out-dir dist \
    && uv pip install --quiet --python /opt/gamepipe --no-deps dist/*.whl

FROM ${PYTHON}
RUN groupadd --gid 10001 gamepipe \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin gamepipe
COPY --from=build /opt/gamepipe /opt/gamepipe
COPY deploy/health.py /opt/gamepipe/health.py
ENV PATH=/opt/gamepipe/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/gamepipe
USER 10001:10001
CMD ["gamepipe", "--help"]
