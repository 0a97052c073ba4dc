"""What the commands share. Folders say in their `__init__.py` which file does what.

The data's way: source -> store -> destination
knack           a source, and a destination for copies
odk             a source
sources.py      joins configuration to a source
loading         from a source into the store; replaces.py: full loads that several processes share
submissions     from an ODK form into the store
store           documents in the store; documents.py: their records, decoded
postgrest.py    the store's HTTP verbs
views.py        the views in schema bi
rownames.py     names that several fields would have; masking.py: public ids
parts.py        rows that are parts of a document
socrata         a destination
agol            a destination
s3              objects in a bucket
copying         media from a form to a bucket; attachments.py: what the store knows of them
thumbnails.py   small copies of photos; filetypes.py: what a file truly is
backups.py      datasets as files, and back
fieldmaps.py    which field of another Knack app a field becomes

A command's own
cli             flags, exit codes, the summary line; completion.py: what Tab offers
containers.py   one container's settings; config_files.py: their files
env.py          variables
schedules.py    when runs are due; due.py: whether the ledger says so
runs.py         a run's row in the ledger; processes.py: whose it is; ledger.py: what the ledger tells
guard.py        the brake on removals
drift.py        columns that get no more values
steps.py        scripts run one after another
migrations.py   `sql/` into a database

How things stand
checking        whether the configuration is right
reconciling     whether all places agree; differences.py: how one differs
status          how every container stands

Plumbing
session         every HTTP request
hostlimiter.py  a rate that all processes of a machine keep; window.py: how many requests at a time
errors.py       every error, as a tree
records.py      the shapes that travel: record, document, row
rawjson.py      JSON read without touching it
spool.py        what a run must remember, on disk
logs.py         the log; progress.py: bars; terminal.py: colours
"""
