"""A report on trained networks: figures with their data, and one self-contained page."""

from anp_tf.reporting.figures import make_figures, sparsity_figure
from anp_tf.reporting.page import report_page
from anp_tf.reporting.runs import load_runs

__all__ = ["load_runs", "make_figures", "report_page", "sparsity_figure"]
