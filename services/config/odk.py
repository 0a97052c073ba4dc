# ODK Central projects: CONFIG = {app name: {container id: {settings}}}. Literals only: it is read, never executed.

CONFIG: dict = {}
