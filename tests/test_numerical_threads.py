"""Plans and fits run on one numerical thread, unless the user has chosen a number."""

import os

import pytest
import torch

from curate import numerical_threads


@pytest.fixture
def threads(monkeypatch):
    """No variable of the environment sets the number of threads, and the number is reset after the test."""
    for name in numerical_threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def number_within(block) -> int:
    with block:
        return torch.get_num_threads()


def test_without_a_choice_one_thread_runs_and_the_number_is_put_back(threads):
    torch.set_num_threads(os.cpu_count())
    assert number_within(numerical_threads.single_by_default()) == 1
    assert torch.get_num_threads() == os.cpu_count()


def test_the_number_that_torch_was_given_stays(threads):
    torch.set_num_threads(os.cpu_count() + 3)
    assert number_within(numerical_threads.single_by_default()) == os.cpu_count() + 3


@pytest.mark.parametrize("name", numerical_threads.VARIABLES)
def test_a_variable_of_the_environment_wins(threads, monkeypatch, name):
    torch.set_num_threads(os.cpu_count())
    monkeypatch.setenv(name, "2")
    assert number_within(numerical_threads.single_by_default()) == os.cpu_count()


def test_an_error_puts_the_number_back(threads):
    torch.set_num_threads(os.cpu_count())
    with pytest.raises(RuntimeError), numerical_threads.single():
        raise RuntimeError
    assert torch.get_num_threads() == os.cpu_count()
