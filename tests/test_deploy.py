"""The systemd units and Kubernetes manifests in deploy/, checked without running either."""

import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from tasks.config.variables import READ
from tests.docker.certificate import make_certificate
from tests.helpers.skipping import skip_loudly

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = [
    path
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
]


def test_systemd_accepts_the_units_and_finds_them_hardened(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        skip_loudly("NO SYSTEMD UNIT WAS CHECKED", "systemd-analyze is not installed")
    paths = [tmp_path / unit.name.replace("@.", "@1.") for unit in UNITS]
    for unit, path in zip(UNITS, paths, strict=True):
        # systemd-analyze looks for the command, and a test has no /opt/farmhaul.
        path.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text()))
        if "@" in unit.name:
            shutil.copy(path, tmp_path / unit.name)

    def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    verified = analyze("verify", *paths)
    assert (verified.returncode, verified.stderr) == (0, "")
    for path in paths:
        # 0 is best and 10 is worst; docs/deployment.md has the result.
        safe = analyze("security", "--offline=true", "--threshold=20", path)
        assert safe.returncode == 0, safe.stdout


def test_a_unit_loads_credentials_and_stops_its_parent_alone() -> None:
    for unit in UNITS:
        text = unit.read_text()
        given = dict(re.findall(r"(?m)^LoadCredential=(\w+):(.+)$", text))
        read = re.findall(r"(?m)^Environment=\w+_FILE=%d/(\w+)$", text)
        assert given.keys() == set(read)
        assert {"KillMode=mixed", "Restart=always", "LimitCORE=0"} <= set(text.splitlines())


def test_flower_with_control_reads_the_url_of_operators() -> None:
    folder = DEPLOY / "systemd/farmhaul-flower.service.d"
    text = (folder / "control.conf.example").read_text()
    [(name, _)] = re.findall(r"(?m)^LoadCredential=(\w+):(/etc/farmhaul/\w+)$", text)
    assert f"Environment=FLOWER_OPERATOR_REDIS_URL_FILE=%d/{name}" in text.splitlines()
    assert "Environment=FLOWER_READ_ONLY=false" in text.splitlines()
    if not shutil.which("docker-compose"):
        skip_loudly("NO COMPOSE FILE WAS MERGED", "docker-compose is not installed")

    files = ("-f", "docker-compose.yml", "-f", "deploy/docker/flower-control.yml")
    done = subprocess.run(
        ["docker-compose", *files, "config"],
        cwd=DEPLOY.parent,
        env={
            **os.environ,
            "FARMHAUL_STORAGE": "/mnt/prod",
            "FTRACK_SERVER": "https://f.test",
            "FTRACK_API_USER": "u",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    flower = yaml.safe_load(done.stdout)["services"]["flower"]
    secrets = {secret["source"]: secret.get("target") for secret in flower["secrets"]}
    url = flower["environment"]["FLOWER_OPERATOR_REDIS_URL_FILE"]
    assert url.removeprefix("/run/secrets/") in secrets
    assert {"redis_url_flower", "secret_key", "flower_auth"} < set(secrets)
    assert flower["environment"]["FLOWER_READ_ONLY"] == "false"


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return [manifest for path in MANIFESTS for manifest in yaml.safe_load_all(path.read_text())]


def test_kubernetes_schemas_accept_the_manifests(manifests: list[dict[str, Any]]) -> None:
    builtin = [manifest for manifest in manifests if manifest["kind"] != "ScaledObject"]

    kinds = {manifest["kind"] for manifest in builtin}
    assert kinds > {"Deployment", "PodDisruptionBudget", "Service"}
    for manifest in builtin:
        kubernetes_validate.validate(manifest, "1.32", strict=True)


def test_pods_run_as_a_user_without_privileges_or_write_access(
    manifests: list[dict[str, Any]],
) -> None:
    kinds = ("Deployment", "StatefulSet")
    workloads = [manifest for manifest in manifests if manifest["kind"] in kinds]
    pods = [workload["spec"]["template"]["spec"] for workload in workloads]

    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        [container] = pod["containers"]
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        items = next(v for v in pod["volumes"] if v["name"] == "secrets")["secret"]["items"]
        probe = container["readinessProbe"].get("exec", {}).get("command", [])
        words = [*container["command"], *(entry["value"] for entry in container.get("env", []))]
        read = set(re.findall(r"/run/secrets/farmhaul/(\w+)", " ".join([*words, *probe])))
        assert {item["path"] for item in items} == read


def test_the_pods_meet_the_restricted_pod_security_standard(
    manifests: list[dict[str, Any]],
) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}
    volumes |= {"persistentVolumeClaim"}
    [namespace] = [one["metadata"] for one in manifests if one["kind"] == "Namespace"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for one in pods_of(manifests):
        pod = one["spec"]
        context = pod["securityContext"]
        assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod), one["labels"]
        assert context.keys() == {
            "runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "seccompProfile"
        }  # fmt: skip
        assert context["runAsUser"] != 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            own = container["securityContext"]
            assert own == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container.get("ports", []))
            assert "memory" in container["resources"]["limits"]
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= volumes, one["labels"]


def test_what_has_no_login_listens_on_loopback() -> None:
    services = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]
    ports = {name: service.get("ports", []) for name, service in services.items()}
    assert {name for name in ports if ports[name]} == {
        "redis", "flower", "exporter", "prometheus", "grafana"
    }  # fmt: skip
    for name, published in ports.items():
        for port in published:
            assert re.match(r"\$\{FARMHAUL_\w+_BIND:-127\.0\.0\.1\}:", port), name
    for unit in UNITS:  # farmhaul exporter and Flower listen on loopback by themselves
        assert "--address" not in unit.read_text()


def test_each_part_logs_into_redis_as_its_own_user(manifests: list[dict[str, Any]]) -> None:
    services = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]
    found: dict[str, set[str]] = {}
    for name in ("worker", "exporter", "flower"):
        [unit] = [unit.read_text() for unit in UNITS if f"-{name}" in unit.name]
        [pod] = [one["spec"] for one in pods_of(manifests) if one["labels"] == f"farmhaul-{name}"]
        text = f"{unit} {pod['volumes']} {services[name]['secrets']}"
        found[name] = set(re.findall(r"redis_url_\w+", text))

    assert found == {name: {f"redis_url_{name}"} for name in found}
    assert "redis_url_operator" in services["operator"]["secrets"]


def test_pods_reach_only_what_they_need(manifests: list[dict[str, Any]]) -> None:
    policies = [manifest["spec"] for manifest in manifests if manifest["kind"] == "NetworkPolicy"]
    covered: dict[str, dict[str, Any]] = {}
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    for policy in policies:
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        selector = policy["podSelector"]
        names = [selector.get("matchLabels", {}).get("app")]
        names += [name for rule in selector.get("matchExpressions", []) for name in rule["values"]]
        covered |= {name: policy for name in names if name}

    assert sorted(covered) == sorted(one["labels"] for one in pods_of(manifests))
    assert covered["farmhaul-redis"]["egress"] == []
    [rule] = covered["farmhaul-redis"]["ingress"]
    [clients] = rule["from"]
    assert set(clients["podSelector"]["matchExpressions"][0]["values"]) == covered.keys() - {
        "farmhaul-redis"
    }
    # Only workers leave the cluster, and only for https.
    outside = {name: "ipBlock" in str(policy["egress"]) for name, policy in covered.items()}
    assert outside == {name: name == "farmhaul-worker" for name in covered}


def pods_of(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pods of all workloads: the label "app" of each, and its spec."""
    kinds = ("Deployment", "StatefulSet")
    templates = [one["spec"]["template"] for one in manifests if one["kind"] in kinds]
    return [
        {"labels": template["metadata"]["labels"]["app"], "spec": template["spec"]}
        for template in templates
    ]


def test_redis_has_the_same_settings_in_a_pod_as_in_a_container(
    manifests: list[dict[str, Any]],
) -> None:
    [redis] = [manifest for manifest in manifests if manifest["kind"] == "StatefulSet"]
    [container] = redis["spec"]["template"]["spec"]["containers"]
    program, *words = container["command"]
    lines = (DEPLOY / "redis" / "redis.conf").read_text().splitlines()
    settings = dict(line.split(maxsplit=1) for line in lines if line and line[0] != "#")

    given = re.findall(
        r"(--\S+) ((?:(?!--).)*)", f"{' '.join(word or '<empty>' for word in words)} "
    )
    own = {name: value.strip().replace("<empty>", "") for name, value in given}
    own |= {"--bind": "* -::*", "--protected-mode": "yes", "--include": settings["include"]}
    assert program == "redis-server"
    assert own == {f"--{name}": value.strip('"') for name, value in settings.items()}
    # make-secrets.sh writes the name of the service into the URLs.
    services = [manifest for manifest in manifests if manifest["kind"] == "Service"]
    names = {service["metadata"]["name"] for service in services}
    assert "@redis:6379/" in (DEPLOY / "docker" / "make-secrets.sh").read_text()
    assert "redis" in names


def test_the_scaler_queries_metrics_that_the_exporter_has(
    manifests: list[dict[str, Any]],
) -> None:
    scalers = [manifest for manifest in manifests if manifest["kind"] == "ScaledObject"]
    [scaled] = [scaler["spec"] for scaler in scalers]
    deployments = [manifest for manifest in manifests if manifest["kind"] == "Deployment"]
    [trigger] = scaled["triggers"]
    exporter = (DEPLOY.parent / "workers" / "exporter.py").read_text()

    names = {deployment["metadata"]["name"] for deployment in deployments}
    assert scaled["scaleTargetRef"]["name"] in names
    # https://keda.sh/docs/latest/scalers/prometheus/: strings, all three required.
    assert {"serverAddress", "query", "threshold"} <= trigger["metadata"].keys()
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    metrics = re.findall(r"farmhaul_\w+", trigger["metadata"]["query"])
    assert metrics
    assert all(f'"{metric}"' in exporter for metric in metrics)


def test_nobody_can_log_in_as_the_default_user_who_may_do_anything() -> None:
    # Redis reads its append-only file as this user, which therefore needs all permissions.
    # tests/docker/test_compose.py shows with Redis 7.0 what happens without them.
    lines = (DEPLOY / "redis" / "users.acl").read_text().splitlines()
    [default] = [line.split()[2:] for line in lines if line.startswith("user default ")]

    assert default[:2] == ["off", "resetpass"]
    assert {"~*", "&*", "+@all"} == set(default[2:])


@pytest.mark.parametrize("prefix", ["", "farm/flower", "/flower/"])
@pytest.mark.parametrize("address", ["", "0.0.0.0", "127.0.0.2"])
def test_the_health_check_of_flower_follows_its_address(
    prefix: str, address: str, tmp_path: Path
) -> None:
    """Its prefix, its port, the address that it listens on and TLS."""
    has_tls = address == "127.0.0.2"
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == wanted else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    def check(**env: str) -> int:
        given = {"FLOWER_PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:1", **env}
        given |= {"FLOWER_ADDRESS": address, "https_proxy": "http://127.0.0.1:1"}
        given |= {"FLOWER_CERTFILE": "flower.pem"} if has_tls else {}
        command = [sys.executable, str(DEPLOY / "flower" / "healthcheck.py")]
        return subprocess.run(command, env=given, capture_output=True, timeout=30).returncode

    wanted = f"/{prefix.strip('/')}/healthcheck".replace("//", "/")
    with HTTPServer(("127.0.0.2" if has_tls else "127.0.0.1", 0), Answer) as server:
        if has_tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            make_certificate(["flower"], tmp_path / "ca.pem", tmp_path / "flower.pem")
            context.load_cert_chain(tmp_path / "flower.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        found = check(FLOWER_URL_PREFIX=prefix)
        elsewhere = check(FLOWER_URL_PREFIX="other")
        server.shutdown()
        thread.join()

    assert (found, elsewhere) == (0, 1)
    assert asked == [wanted, "/other/healthcheck"]


@pytest.mark.parametrize("prefix", ["my farm", "f\xe4rm", "a+b"])
def test_a_prefix_that_flower_cannot_serve_is_named(prefix: str) -> None:
    command = [sys.executable, str(DEPLOY / "flower" / "healthcheck.py")]
    given = {"FLOWER_URL_PREFIX": prefix, "PYTHONUTF8": "1"}

    done = subprocess.run(command, env=given, capture_output=True, timeout=30)

    said = done.stderr.decode()
    assert (done.returncode, said.partition(":")[0]) == (1, f"FLOWER_URL_PREFIX={prefix}")
    assert "my%20farm" in said


def test_containers_and_pods_ask_flower_by_that_health_check(
    manifests: list[dict[str, Any]],
) -> None:
    command = ["python", "/etc/farmhaul/healthcheck.py"]
    services = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]
    [pod] = [one["spec"] for one in pods_of(manifests) if one["labels"] == "farmhaul-flower"]
    [container] = pod["containers"]

    assert services["flower"]["healthcheck"]["test"] == ["CMD", *command]
    assert {"FLOWER_URL_PREFIX", "FLOWER_PORT"} <= services["flower"]["environment"].keys()
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == command
    assert "flower/healthcheck.py" in (DEPLOY / "docker" / "Dockerfile").read_text()


def test_workers_start_after_the_file_systems_of_the_network() -> None:
    [unit] = [unit.read_text() for unit in UNITS if "-worker" in unit.name]
    [after] = re.findall(r"(?m)^After=(.+)$", unit)

    assert "remote-fs.target" in after.split()


def secret_variables() -> list[str]:
    """Return what the table of variables calls a secret, or a URL with a password."""
    page = (DEPLOY.parent / "docs/configuration.md").read_text(encoding="utf-8")
    row = r"^\| `(\w+)` \|[^|]*\|[^|]*(?:secret|password)[^|]*\|"
    return re.findall(row, page, re.MULTILINE)


def test_docker_inspect_shows_no_secret_of_a_container() -> None:
    """A container's environment is what it shows: secrets are files there, which are mounted."""
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text(encoding="utf-8"))
    secrets = {*secret_variables(), "FLOWER_BASIC_AUTH", "GF_SECURITY_ADMIN_PASSWORD"}
    for name, service in compose["services"].items():
        given = set(service.get("environment", ()))
        assert not given & secrets, name
        files = {one for one in given if one.endswith("_FILE") and one[:-5] in secrets}
        read = {service["environment"][one].removeprefix("/run/secrets/") for one in files}
        assert read <= set(service.get("secrets", ())) <= set(compose["secrets"]), name
    worker = compose["services"]["worker"]["environment"]
    assert worker["FARMHAUL_NOTIFY_URL_FILE"] == "/run/secrets/notify_url"


def test_each_secret_of_compose_is_written(tmp_path: Path) -> None:
    script = ["sh", str(DEPLOY / "docker/make-secrets.sh"), str(tmp_path)]
    url = "https://chat.example.com/hook/1"
    env = {**os.environ, "FTRACK_API_KEY": "k", "FARMHAUL_NOTIFY_URL": url}
    subprocess.run(script, env=env, check=True, capture_output=True, timeout=60)

    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text(encoding="utf-8"))
    assert set(compose["secrets"]) <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "notify_url").read_text() == url
    (tmp_path / "notify_url").unlink()
    env.pop("FARMHAUL_NOTIFY_URL")
    subprocess.run(script, env=env, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "notify_url").read_text() == ""


def test_the_placeholder_of_the_documentation_becomes_no_api_key(tmp_path: Path) -> None:
    script = ["sh", str(DEPLOY / "docker/make-secrets.sh"), str(tmp_path / "secrets")]
    env = {**os.environ, "FTRACK_API_KEY": "…"}

    done = subprocess.run(script, env=env, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "write the API key of ftrack in its place" in done.stderr
    assert not (tmp_path / "secrets").exists()


def test_ansible_writes_no_secret_where_everybody_may_read() -> None:
    """The role refuses what is a secret."""
    secrets = secret_variables()
    roles = DEPLOY / "ansible/roles"
    [tasks, hook] = (
        yaml.safe_load((roles / name / "tasks/main.yml").read_text(encoding="utf-8"))
        for name in ("farmhaul_worker", "farmhaul_hook")
    )
    names = [task["name"] for task in tasks]
    [refusal] = [task for task in tasks if "farmhaul_secret_names" in task.get("vars", {})]

    assert len(secrets) == 5
    others = {"FLOWER_BASIC_AUTH", "FLOWER_OAUTH2_SECRET", "GF_SECURITY_ADMIN_PASSWORD"}
    words = re.compile(refusal["vars"]["farmhaul_secret_names"])
    assert {name for name in {*READ, *secrets, *others} if words.search(name)} == {
        *secrets,
        *others,
    }
    login = re.compile(refusal["vars"]["farmhaul_login_in_url"])
    assert login.search("http://farm:pw@proxy:3128")
    assert not login.search("http://proxy:3128/a@b")
    assert names.index(refusal["name"]) < names.index("Settings")
    for task in (*tasks, *hook):
        # What the log of a run must not show is a secret.
        if task.get("no_log"):
            [module] = (task[name] for name in task if name.startswith("ansible.builtin"))
            assert module["mode"] in {"0600", "0640"}


def test_ansible_writes_no_setting_of_more_than_a_line() -> None:
    for role, written in (("worker", "Settings"), ("hook", "Its settings, with the key")):
        text = (DEPLOY / f"ansible/roles/farmhaul_{role}/tasks/main.yml").read_text("utf-8")
        tasks = yaml.safe_load(text)
        names = [task["name"] for task in tasks]
        check = names.index("Each setting stays one line")
        assert check < next(n for n, name in enumerate(names) if name.startswith(written))
        breaks = re.compile(tasks[check]["vars"]["farmhaul_breaks"])
        assert all(
            map(breaks.search, ("a'\nB='b", "a\nLD_PRELOAD=/tmp/theirs.so", "a\rb", "o'neil"))
        )
        assert not breaks.search("/mnt/prod:/mnt/my plates")


def test_no_container_writes_its_memory_to_a_disk() -> None:
    services = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]
    with_secrets = [name for name in services if services[name].get("secrets")]
    assert len(with_secrets) > 4
    assert [name for name in with_secrets if services[name].get("ulimits") != {"core": 0}] == []


def test_nothing_is_imported_from_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    """The image sets PYTHONSAFEPATH, and units start Celery where root alone may write."""
    (tmp_path / "workers.py").write_text("raise SystemExit('theirs')\n")
    bin_folder = Path(sys.executable).parent
    nowhere = {**os.environ, "FARMHAUL_REDIS_URL": "redis://127.0.0.1:1/0"}

    def run(*command: str, **env: str) -> str:
        done = subprocess.run(
            [bin_folder / command[0], *command[1:]],
            cwd=tmp_path, env=nowhere | env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.stdout + done.stderr

    health = ("python", "-m", "workers.health")
    assert "theirs" in run(*health)
    assert "Redis" in run(*health, PYTHONSAFEPATH="1")
    assert "Redis" in run("farmhaul", "status")
    image = (DEPLOY / "docker/Dockerfile").read_text().partition("AS runtime\n")[2]
    runtime = image.partition("\nFROM ")[0].splitlines()
    assert "    PYTHONSAFEPATH=1" in runtime
    assert [line for line in runtime if line.startswith("WORKDIR")] == ["WORKDIR /"]
    for unit in UNITS:
        lines = unit.read_text().splitlines()
        assert ("WorkingDirectory=/" in lines) is (
            "celery -A" in unit.read_text().split("ExecStart=")[1]
        )
