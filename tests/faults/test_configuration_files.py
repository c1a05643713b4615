"""Configuration files with mistakes: one line names the key or the place, before anything is built."""

import resource
import signal

import pytest
import yaml

from lightvid.configuration import compose, compose_linked
from lightvid.configuration.files import save
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


def test_a_configuration_that_is_cut_off_while_it_is_written_leaves_the_one_before(tmp_path):
    save(compose_linked([f"out={tmp_path}"]), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))  # bytes of any file
    try:
        with pytest.raises(OSError, match="File too large"):
            save(compose_linked([f"out={tmp_path}", "seed=1"]), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
