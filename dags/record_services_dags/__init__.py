"""What `dags/record_services.py` builds DAGs with. `settings`, `plan` and `commands` need no Airflow; the rest does."""
