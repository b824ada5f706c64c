"""Packaging of anp_tf."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "anp_tf" / "__init__.py").read_text())[1]

LITERT = ["ai-edge-litert>=2.1,<3"]
ONNX = ["onnx>=1.19", "onnxruntime>=1.20", "tf2onnx>=1.17,<2"]
MICRO = [*LITERT, "tflite-micro"]
ROBUSTNESS = [
    "adversarial-robustness-toolbox>=1.20,<2",
    "foolbox>=3.3.4,<4",
]

setuptools.setup(
    name="anp_tf",
    version=VERSION,
    description="Adversarial neural pruning: Keras networks robust to attacks, and small",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    entry_points={"console_scripts": ["anp-tf=anp_tf.__main__:main"]},
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["anp_tf", "anp_tf.*"]),
    package_data={
        "anp_tf": ["configs/*", "py.typed"],
        "anp_tf.data": ["mnist.npz"],
        "anp_tf.export": ["*.jinja"],
        "anp_tf.reproduce": ["*.csv"],
        "anp_tf.report": ["report.*"],
    },
    install_requires=[
        "absl-py>=2.1,<3",
        "importlib_resources>=6.4",  # needed by tensorflow-datasets, which does not declare it
        "jinja2>=3.1,<4",
        "keras>=3.12,<4",
        "keras-tuner>=1.4.8,<2",
        "matplotlib>=3.10.7,<4",
        "numpy>=2.1,<3",
        "pillow>=11",
        "pyarrow>=18",
        "rich>=13.9,<16",
        "scipy>=1.14.1,<2",  # foolbox imports scipy.ndimage.filters, which SciPy 2 will not have
        "tensorboard>=2.20,<3",
        "tensorflow>=2.20,<2.22",
        "tensorflow-datasets>=4.9.10,<5",
        "tensorflow-probability[tf]>=0.25,<0.26",
        "tensorflow-serving-api>=2.20,<2.22",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.22"],
        "litert": LITERT,
        "micro": MICRO,
        "networks": ["keras-hub>=0.32,<1"],
        "onnx": ONNX,
        "robustness": ROBUSTNESS,
        "test": [
            *MICRO,
            *ONNX,
            *ROBUSTNESS,
            "hypothesis>=6.140",
            "ipykernel>=6.29",
            "mypy>=1.18.1",
            "nbclient>=0.10",
            "openvino>=2026.4",
            "pytest>=8",
            "pytest-xdist>=3.8",
            "setuptools>=70.1",
            "ruff==0.17.6",
        ],
    },
)
