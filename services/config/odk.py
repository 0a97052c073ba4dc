"""ODK Central projects, read as data and never executed.

CONFIG = {app name: {container id: {settings}}}, literals only; the README tells every setting.
"""

CONFIG: dict = {}
