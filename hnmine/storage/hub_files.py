"""Files of repositories on the Hugging Face hub: `hf://datasets/OWNER/NAME[@REVISION]/PATH`.

Folders are listed by huggingface_hub's file system for fsspec. Files are fetched into its cache, as `datasets` does,
and are files of this machine from then on: one that did not change is fetched once, for all runs. The token is the one
that huggingface_hub finds: HF_TOKEN, or the file that `hf auth login` writes. None is ever part of a message.
"""

import errno
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from hnmine.errors import HnmineError, InputError, reason

HUB = "hf://"
_FETCHED_AT_A_TIME = 8
_LOG_IN = "set HF_TOKEN or log in with `hf auth login`"
_ADDRESS = f"write {HUB}datasets/OWNER/NAME/PATH, or {HUB}datasets/OWNER/NAME@REVISION/PATH"


def is_hub(entry: str) -> bool:
    """Return whether an entry of the config is an address on the hub."""
    return entry.lower().startswith(HUB)


@contextmanager
def hub_errors() -> Iterator[None]:
    """Translate what the hub's client raises in the block.

    Raises:
        InputError: why the hub gives no file, and what to do.
    """
    try:
        yield
    except HnmineError:
        raise
    except Exception as error:  # the client raises its own, its HTTP library's and the system's errors
        raise InputError(_explain(error)) from None


def open_hub(url: str) -> tuple[Any, str]:
    """Return the hub's file system and the path in it, with the commit in place of the revision.

    A branch that moves afterwards changes neither the listing nor the files.
    """
    import huggingface_hub

    system = huggingface_hub.HfFileSystem(skip_instance_cache=True)
    found: Any = system.resolve_path(url)
    if not hasattr(found, "repo_type"):
        raise InputError(f"a bucket cannot be read; {_ADDRESS}")
    info = huggingface_hub.HfApi().repo_info(found.repo_id, revision=found.revision, repo_type=found.repo_type)
    kind = "" if found.repo_type == "model" else f"{found.repo_type}s/"
    path = f"{kind}{found.repo_id}@{info.sha}/{found.path_in_repo}".rstrip("/")
    # listed here, as the file system's tests for files and folders answer False to any error, then from its memory
    with suppress(FileNotFoundError):
        system.info(path)
    return system, path


def fetch(system: Any, paths: Sequence[str]) -> list[str]:
    """Return the paths of files on this machine, fetched into the hub's cache if they are not there."""
    import huggingface_hub

    def one(path: str) -> str:
        found: Any = system.resolve_path(path)
        return str(
            huggingface_hub.hf_hub_download(
                found.repo_id, found.path_in_repo, repo_type=found.repo_type, revision=found.revision
            )
        )

    with ThreadPoolExecutor(_FETCHED_AT_A_TIME) as pool:
        return list(pool.map(one, paths))


def _explain(error: BaseException) -> str:
    """Return why the hub gave no file. The client's own text is not used where it may hold a signed address."""
    from huggingface_hub import errors

    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 10:
        chain.append(cause)
    # says only that the cache lacks the file; why it could not be fetched is its cause
    chain = [one for one in chain if not isinstance(one, errors.LocalEntryNotFoundError)] or chain
    answers = [one for one in chain if isinstance(one, errors.HfHubHTTPError) and one.response is not None]
    if answers:
        return _explain_answer(answers[0])
    if any(isinstance(one, errors.OfflineModeIsEnabled) for one in chain):
        return (
            "HF_HUB_OFFLINE is set, so nothing is fetched from the hub: unset it; or name a folder that "
            "`hf download OWNER/NAME --repo-type dataset --local-dir FOLDER` has filled"
        )
    if any(isinstance(one, ValueError | NotImplementedError) for one in chain):
        return f"no address of a file on the hub; {_ADDRESS}"
    if any(getattr(one, "errno", None) == errno.ENOSPC for one in chain):
        return "the disk of the hub's cache is full: free some space there, or set HF_HOME to a folder with more"
    return f"{reason(chain[-1])}; check the network and, if it is set, HF_ENDPOINT"


def _explain_answer(error: Any) -> str:
    """Return what an answer of the hub that is no success means."""
    from huggingface_hub import errors, get_token

    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        return f"the repository is gated: accept its terms on its page on the hub, and {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision: name a branch, a tag or a commit after the @"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        if get_token():
            return "no such repository, or the token (HF_TOKEN, or the login's) is not valid or may not read it"
        return f"no such repository, or a private one: check the name ({_ADDRESS}); for a private one {_LOG_IN}"
    if status == 429:
        return f"the hub answers that there were too many requests: wait some minutes, or {_LOG_IN}, which allows more"
    return f"the hub answers with status {status}: try again later"
