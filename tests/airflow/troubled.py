"""troubled.py FOLDER SCRIPT FLAGS...: runs one, and ends as FOLDER's `<script>.<container>` says if it is there."""

import json
import subprocess
import sys
from pathlib import Path

folder, script, *flags = sys.argv[1:]
done = subprocess.run([sys.executable, script, *flags], stdout=subprocess.PIPE, text=True, check=False)
container = flags[flags.index("-c") + 1] if "-c" in flags else ""
order = Path(folder, f"{Path(script).stem}.{container}")
if done.returncode == 0 and order.exists():
    summary = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(json.dumps({**summary, "status": "partial", "rejected": 2}) + "\n")
    sys.exit(int(order.read_text()))
sys.stdout.write(done.stdout)
sys.exit(done.returncode)
