"""The DAGs in real Airflow, in an environment of its own: `make test-airflow`."""
