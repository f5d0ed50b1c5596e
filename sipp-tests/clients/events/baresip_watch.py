#!/usr/bin/env python3
"""A baresip that watches: it registers, subscribes to its message lamp and to the presence of somebody, and says what it
was told.

    baresip_watch.py SERVER(host:port) LOCAL(host:port) DOMAIN USER PASSWORD WATCHED DIR

Exit status 0 when it was told both within 15 seconds."""
import os
import subprocess
import sys
import time

server, local, domain, user, password, watched, folder = sys.argv[1:8]
MODULES = ["/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules", "/usr/local/lib/baresip/modules"]
modules = next((path for path in MODULES if os.path.isdir(path)), MODULES[0])
os.makedirs(folder, exist_ok=True)


def write(name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


write("config", f"""sip_listen {local}
module_path {modules}
module g711.so
module_tmp uuid.so
module_tmp account.so
module_app contact.so
module_app menu.so
module_app presence.so
module_app mwi.so
""")
write("accounts", f'<sip:{user}@{domain}>;auth_user={user};auth_pass={password};outbound="sip:{server};transport=udp";'
                  "regint=60;mwi=yes\n")
write("contacts", f'"watched" <sip:{watched}@{domain}>;presence=p2p\n')
log = os.path.join(folder, "log.txt")
with open(log, "wb") as out:
    phone = subprocess.Popen(["baresip", "-f", folder, "-s", "-v"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
try:
    deadline = time.monotonic() + 15
    lamp = presence = False
    while time.monotonic() < deadline and not (lamp and presence):
        with open(log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        lamp = "Messages-Waiting: no" in text
        presence = "<basic>open</basic>" in text
        time.sleep(0.1)
    print(f"message lamp {'told' if lamp else 'NOT told'}, presence {'told' if presence else 'NOT told'}")
    sys.exit(0 if lamp and presence else 1)
finally:
    # A phone that is asked to end may wait for answers that will not come; left alive it would keep the address.
    phone.terminate()
    try:
        phone.wait(3)
    except subprocess.TimeoutExpired:
        phone.kill()
        phone.wait()
