"""Names that options take, so that a command line is checked before TensorFlow is imported.

Where a family has a table in its package, that has these names in this order; the attacks of an
evaluation are made by `anp_tf.robustness.named_attacks`.
"""

METHODS = (
    "standard",
    "bp",
    "at",
    "at_vs",
    "at_bnn",
    "pretrained_at",
    "admm",
    "trades",
    "anp",
    "anp_vs",
    "magnitude",
)
MASKS = ("beta_bernoulli", "hard_concrete", "information_bottleneck", "log_normal")
NETWORKS = (
    "lenet5_caffe",
    "vgg16",
    "resnet18",
    "lenet5_thresholds",
    "strided_cnn",
    "wide_cnn",
)
AUGMENTATIONS = ("none", "crop", "crop_flip", "crop_alternate")
NORMS = ("Linf", "L2")
ATTACKS = (  # of an evaluation
    "standard",
    "fgsm",
    "pgd",
    "pgd-margin",
    "pgd-dlr",
    "apgd",
    "apgd-ce",
    "apgd-margin",
    "apgd-dlr",
    "apgd-t",
    "fab-t",
    "square",
    "latent",
    "noise",
    "transfer",
)
PROOFS = ("interval", "crown", "alpha_crown", "branching")  # of a certificate
INTERMEDIATE = ("interval", "crown")  # where CROWN has bounds of hidden features from
FORMATS = ("saved_model", "keras", "litert", "onnx", "micro")
PRECISIONS = ("float32", "float16", "int8")
TUNERS = ("random", "bayesian", "hyperband")
TABLES = ("mnist", "cifar10", "cifar100", "wang2018")
FIGURES = ("sparsity", "frontier", "proved", "proved_sparsity")
BENCHMARKS = (
    "agreement",
    "attack",
    "training",
    "networks",
    "scaling",
    "slim",
    "verdict",
    "commands",
)
BENCHMARK_NETWORKS = ("lenet5_caffe", "vgg16")
