"""What is beside the versions of a release: whose files may be replaced."""

import pytest

from anp_tf.export.beside import OTHERS, VERDICTS, check_own
from anp_tf.export.card import model_card
from anp_tf.settings import Settings


@pytest.mark.parametrize("version", ["2023/notes.txt", "2023/saved_model.pb", "1.onnx"])
@pytest.mark.parametrize("mine", ["README.md", "results.json", *VERDICTS, *OTHERS])
def test_files_of_ones_own_are_not_overwritten(version, mine, tmp_path):
    (tmp_path / "2023").mkdir()
    (tmp_path / version).touch()
    check_own(tmp_path)
    (tmp_path / mine).write_text('{"mine": "Trained by me"}')
    with pytest.raises(FileExistsError, match=mine.replace(".", r"\.")):
        check_own(tmp_path)


def test_files_of_an_earlier_export_may_be_replaced(tmp_path):
    (tmp_path / "1.onnx").touch()
    (tmp_path / "README.md").write_text(model_card(Settings(), None, []))
    for name in (*VERDICTS, *OTHERS):
        (tmp_path / name).touch()
    check_own(tmp_path)
    (tmp_path / "results.json").write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match=r"results\.json was not written by an export"):
        check_own(tmp_path)
