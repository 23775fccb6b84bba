"""OpenStackClient, ready: each command is a fork of a process that has imported it already.

Its start takes two seconds, most of them for imports. Lines of JSON on stdin, {"words", "folder",
"environment"}, are answered with {"code", "out", "error"}. Ends when stdin does.
"""

import json
import os
import sys
import tempfile
import traceback

import openstack.compute.v2.server
import openstack.connection  # noqa: F401
import openstackclient.identity.v3.service  # noqa: F401
from openstackclient import shell


def run(words, folder, environment, out, error):
    os.dup2(out.fileno(), 1)
    os.dup2(error.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = 70
    try:
        code = shell.main(words)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def main():
    for line in sys.stdin:
        order = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            child = os.fork()
            if child == 0:
                run(order["words"], order["folder"], order["environment"], out, error)
            _, status = os.waitpid(child, 0)
            texts = []
            for file in (out, error):
                file.seek(0)
                texts.append(file.read().decode())
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "out": texts[0],
            "error": texts[1],
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
