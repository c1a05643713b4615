"""Configuration files with mistakes: one line names the key or the place, before anything is built."""

import pytest
import yaml

from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.training import train


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("\nseed: 0", "\nsede: 0", "sede"),
        ("adversarial_weight: 0.01", "adversarial_wieght: 0.01", r"adversarial_wieght.*did you mean"),
        ("adversarial_weight: 0.01", "adversarial_weight: much", r"task\.adversarial_weight.*float.*much"),
        ("\nseed: 0", "\nseed: ${seed}", "'seed' refers to itself"),
        ("\nname: additive-sample", "\nname: ${out}/${name}", "'name' refers to itself"),
        ("\nseed: 0", "\nseed:\t0\n\tclip: 1", r"broken\.yaml: not a readable YAML file \(line \d+: .*tab character"),
        ("\nseed: 0", "\nseed: 0\nseed: 1", r"broken\.yaml: not a readable YAML file \(line \d+: .*duplicate key seed"),
        ("\nseed: 0", "\nseed: [0", r"broken\.yaml: not a readable YAML file \(line \d+: "),
    ],
)
def test_a_mistake_in_a_configuration_file_is_one_line(tmp_path, old, new, named):
    text = yaml.safe_dump(compose([f"out={tmp_path / 'runs'}"]), sort_keys=False)
    assert text.count(old) == 1
    file = tmp_path / "broken.yaml"
    file.write_text(text.replace(old, new))
    with pytest.raises(ConfigurationError, match=named) as caught:
        train([f"config={file}", f"run_dir={tmp_path / 'run'}"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
