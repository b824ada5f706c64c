"""The code of the README and of the page on serving, and all commands, do what they say."""

import base64
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from concurrent import futures

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SERVING = (ROOT / "docs" / "serving.md").read_text()
SMALL = {
    "train": [
        "--limit_train_examples=300",
        "--limit_test_examples=100",
        "--epochs=1",
        "--attack_steps=1",
        "--eval_attack_steps=2",
        "--width_multiplier=0.2",
    ],
    "evaluate": ["--limit_test_examples=100", "--eval_attack_steps=2"],
    "evaluate --attack": ["--limit_test_examples=10", "--queries=20"],
    "report": ["--examples=20"],
    "export": [],
    "tune": [
        *("--trials=1", "--tuner=random", "--limit_train_examples=300", "--epochs=1"),
        *("--attack_steps=1", "--validation_attack_steps=1", "--width_multiplier=0.2"),
    ],
    "reproduce": [
        "--limit_train_examples=300",
        "--limit_test_examples=100",
        "--epochs=1",
        "--attack_steps=1",
        "--validation_attack_steps=1",
        "--eval_attack_steps=2",
        "--width_multiplier=0.2",
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the README's blocks run, one after the other, as a reader would run them."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(ROOT / "saved_models", folder / "saved_models")  # which commands write into
    return folder


# Runs the blocks of code that it reads one after the other, with one import of TensorFlow, and
# writes what each printed.
BLOCKS = """
import contextlib, io, json, sys
outputs = []
for block in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    outputs.append(output.getvalue())
print(json.dumps(outputs))
"""


def run_blocks(blocks, folder):
    """What each block of code prints."""
    return json.loads(run(["-c", BLOCKS], folder, json.dumps(blocks)).splitlines()[-1])


def run(arguments, folder, text=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def small(name, flags):
    """What makes a command of the README take seconds."""
    if name == "reproduce":
        kinds = {"table=wang2018": "fgsm_none_0", "figure=sparsity": "bp", "table=mnist": "at"}
        (method,) = (method for kind, method in kinds.items() if kind in flags)
        return [*SMALL[name], f"--methods={method}"]
    return SMALL["evaluate --attack" if "--attack" in flags else name]


SERVED = ROOT / "saved_models" / "mnist_cpu" / "anp_vs"  # as the README's container serves it


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict by the SavedModel's signature, in the place of TensorFlow Serving."""

    def __init__(self):
        text = (SERVED / "models.config").read_text()
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        (self.config,) = config.model_config_list.config
        self.signatures = tf.saved_model.load(str(SERVED / "1")).signatures

    def Predict(self, request, context):  # noqa: N802 - gRPC's name
        assert request.model_spec.name == self.config.name
        name = request.model_spec.signature_name or "serving_default"
        inputs = {key: tf.constant(tf.make_ndarray(x)) for key, x in request.inputs.items()}
        answer = predict_pb2.PredictResponse()
        for key, value in self.signatures[name](**inputs).items():
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return answer


@pytest.fixture
def port():
    """The port of a server."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Server(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield port
    server.stop(None)


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README + SERVING, re.DOTALL)


@pytest.mark.slow
def test_python_blocks(folder, port):
    blocks = [block.replace("localhost:8500", f"localhost:{port}") for block in python_blocks()]
    outputs = run_blocks(blocks, folder)
    assert "kept" in outputs[0]
    assert (folder / "masked.keras").exists()
    assert "adversarial_accuracy" in outputs[1]
    assert "0." in outputs[2]
    assert outputs[4].strip("[]\n").split()[2] == "1."  # a 2
    check_rest_request(folder)


def check_rest_request(folder):
    """The body that the README's curl sends, understood as TensorFlow Serving understands it."""
    body = json.loads((folder / "request.json").read_text())
    assert body.keys() == {"signature_name", "instances"}
    files = [base64.b64decode(instance["b64"]) for instance in body["instances"]]
    signature = tf.saved_model.load(str(SERVED / "1")).signatures[body["signature_name"]]
    ((name, spec),) = signature.structured_input_signature[1].items()
    assert spec.dtype == tf.string
    (probabilities,) = signature(**{name: tf.constant(files)})["probabilities"]
    stated = re.search(r"class 2 is\s+([\d.]+)\.", SERVING)[1]
    assert f"{probabilities[2]:.4f}" == stated


def test_server_command():
    (command,) = re.findall(r"^docker run (.*?)```", SERVING, re.DOTALL | re.MULTILINE)
    folder, mounted = re.search(r'"\$PWD/(.*?):(.*?)"', command).groups()
    for name in re.findall(rf"{mounted}/(\S+)", command):
        assert (ROOT / folder / name).is_file()
    assert f'base_path: "{mounted}"' in (SERVED / "models.config").read_text()
    assert ROOT / folder == SERVED


# In commands that need another machine, the shell's variables, hours of training before them, or
# a network as wide as their config's.
NOT_HERE = ("/shared/", "$S", "runs/cifar10_cpu", "runs/cifar100_cpu", "cifar10_sparsity_cpu")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {
    page.stem: re.findall(
        r"^python -m anp_tf\.(\w+) (.*)$", page.read_text().replace("\\\n", ""), re.MULTILINE
    )
    for page in PAGES
}


def test_flags_of_commands_are_known(folder, commands):
    started = [
        (page, name, commands.start(name, *shlex.split(flags), "--only_check_args", cwd=folder))
        for page, listed in COMMANDS.items()
        for name, flags in listed
    ]
    for *command, process in started:
        outcome = process.wait()
        assert (outcome.code, outcome.err) == (0, ""), command
    assert len(started) > 20


def test_links_lead_to_files():
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)


@pytest.mark.slow
def test_commands(folder, commands):
    done = set()
    if not (folder / "masked.keras").exists():
        run_blocks(python_blocks()[:1], folder)
    for name, flags in (
        command
        for page in ("README", "commands", "robustness", "results")
        for command in COMMANDS[page]
        if command[0] != "benchmark" and not any(text in command[1] for text in NOT_HERE)
    ):
        if (name, flags) in done:
            continue
        done.add((name, flags))
        outcome = commands.run(name, *flags.split(), *small(name, flags), cwd=folder)
        assert outcome.code == 0, outcome.out + outcome.err
    assert (folder / "runs/mnist/anp_vs/results.json").exists()
    assert (folder / "served/mnist/1/saved_model.pb").exists()
    assert "--beta=" in (folder / "runs/tune/best.cfg").read_text()
    assert "apgd-t" in (folder / "runs/mnist/anp_vs/robustness.json").read_text()
    assert "fab-t" in (folder / "robustness/robustness.json").read_text()
    assert "fab-t" in (folder / "report/report.html").read_text()
    assert "| `at` |" in (folder / "runs/mnist_cpu/table.md").read_text()


@pytest.mark.slow
def test_quickstart_command_makes_a_network(folder):
    (flagfile,) = re.findall(r"anp_tf\.train --flagfile=(configs/quickstart\.cfg)$", README, re.M)
    run(
        ["-m", "anp_tf.train", f"--flagfile={flagfile}", "--standard_epochs=1", *SMALL["train"]],
        folder,
    )
    assert (folder / "runs/quickstart/saved_model/1/saved_model.pb").exists()


def test_methods_are_described():
    from anp_tf.methods import METHODS

    for method in METHODS:
        assert f"| `{method}` |" in (ROOT / "docs" / "commands.md").read_text()
