# docker build -t record-services .
# docker run --rm --env-file env_file record-services services/records_to_socrata.py -a APP -c CONTAINER -e prod
# Work on the code without a rebuild: add  -v "$PWD":/app
# With nothing to write to:            add  --read-only --tmpfs /tmp

FROM python:3.12-slim-bookworm AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --disable-pip-version-check --requirement /tmp/requirements.txt

FROM python:3.12-slim-bookworm AS slim
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="record-services" \
      org.opencontainers.image.description="Knack and ODK Central records to PostgreSQL, Socrata and ArcGIS Online" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.documentation="README.md" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin services
COPY --from=build /opt/venv /opt/venv
# PYTHONPATH makes /app the package's home, whether it is the image's own copy or a mounted one.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY sql /app/sql
COPY services /app/services
# Once here, not in every container that starts.
RUN python -m compileall -q /app/services
USER 10001
ENTRYPOINT ["python"]
CMD ["services/records_to_postgrest.py", "--help"]

# The same with Esri's package, for AGOL_CLIENT=arcgis:  docker build --target arcgis -t record-services:arcgis .
FROM build AS build-arcgis
COPY requirements-arcgis.txt /tmp/requirements-arcgis.txt
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --requirement /tmp/requirements-arcgis.txt

FROM slim AS arcgis
COPY --from=build-arcgis /opt/venv /opt/venv

# Last, so that a plain build makes it.
FROM slim
