"""Tests: real PostgreSQL and PostgREST under everything that touches the store."""
