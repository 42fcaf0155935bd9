"""Folders in the cloud: gs://bucket/path, s3://bucket/path, hf://owner/model[@revision][/path].

google-cloud-storage, pyarrow and huggingface_hub read them, each with its provider's own settings:
GOOGLE_APPLICATION_CREDENTIALS, STORAGE_EMULATOR_HOST; AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_REGION,
AWS_ENDPOINT_URL; HF_TOKEN, HF_ENDPOINT.
"""

import os
from dataclasses import dataclass

from wf.error import Error

TIMEOUT_S, RETRY_S = 60, 20


@dataclass(frozen=True)
class RemoteFile:
    name: str  # within the folder
    size: int


def open_bucket(url: str):
    """The folder at `url`: files() -> [RemoteFile]; version(name), which changes whenever the file
    does; read(name, start, size) -> bytes. Reading throws what the library throws."""
    scheme, _, rest = url.partition("://")
    if scheme not in FOLDERS or not rest.strip("/"):
        raise Error(f"{url}: expected gs://BUCKET/FOLDER, s3://BUCKET/FOLDER or hf://OWNER/MODEL")
    return FOLDERS[scheme](url, rest.strip("/"))


class GoogleFolder:
    def __init__(self, url: str, path: str):
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import storage
        from google.cloud.storage.retry import DEFAULT_RETRY

        self.url, self.retry = url, DEFAULT_RETRY.with_timeout(RETRY_S)
        bucket, _, folder = path.partition("/")
        try:
            client = storage.Client()
        except (DefaultCredentialsError, OSError):  # a public bucket needs none
            client = storage.Client.create_anonymous_client()
        self.bucket, self.prefix = client.bucket(bucket), folder and folder + "/"
        self.blobs = {}

    def files(self) -> list[RemoteFile]:
        from google.api_core.exceptions import GoogleAPIError

        try:
            found = self.bucket.client.list_blobs(
                self.bucket,
                prefix=self.prefix,
                delimiter="/",
                timeout=TIMEOUT_S,
                retry=self.retry,
            )
            self.blobs = {blob.name[len(self.prefix) :]: blob for blob in found}
        except (GoogleAPIError, OSError) as error:
            raise Error(f"{self.url}: {first_line(error)}") from error
        if not self.blobs:
            raise Error(f"{self.url}: no such folder")
        return [RemoteFile(name, blob.size) for name, blob in self.blobs.items()]

    def version(self, name: str) -> str:
        blob = self.bucket.get_blob(self.prefix + name, timeout=TIMEOUT_S)
        if blob is None:
            raise FileNotFoundError("is gone")
        return str(blob.generation)

    def read(self, name: str, start: int, size: int) -> bytes:
        return self.blobs[name].download_as_bytes(
            start=start,
            end=start + size - 1,
            checksum=None,
            timeout=TIMEOUT_S,
            retry=self.retry,
        )


class AmazonFolder:
    def __init__(self, url: str, path: str):
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        self.url, self.path = url, path
        self.system = S3FileSystem(
            endpoint_override=os.environ.get("AWS_ENDPOINT_URL"),
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
            request_timeout=TIMEOUT_S,
        )

    def files(self) -> list[RemoteFile]:
        from pyarrow.fs import FileSelector, FileType

        try:
            entries = self.system.get_file_info(FileSelector(self.path))
        except FileNotFoundError as error:
            raise Error(f"{self.url}: no such folder") from error
        except OSError as error:
            raise Error(f"{self.url}: {first_line(error)}") from error
        return [RemoteFile(e.base_name, e.size) for e in entries if e.type == FileType.File]

    def version(self, name: str) -> str:
        with self.system.open_input_file(f"{self.path}/{name}") as file:
            return file.metadata()["ETag"].decode()

    def read(self, name: str, start: int, size: int) -> bytes:
        with self.system.open_input_file(f"{self.path}/{name}") as file:
            return file.read_at(size, start)


class HubFolder:
    def __init__(self, url: str, path: str):
        from huggingface_hub import HfFileSystem

        self.url, self.path = url, path
        if "/" not in path:
            raise Error(f"{url}: expected hf://OWNER/MODEL")
        self.system, self.info = HfFileSystem(), {}

    def files(self) -> list[RemoteFile]:
        from huggingface_hub import HfApi

        try:
            place = self.system.resolve_path(self.path)
            model = HfApi().model_info(place.repo_id, revision=place.revision)
            # By its commit, which cannot change while files are fetched.
            path = f"{place.repo_id}@{model.sha}/{place.path_in_repo}".rstrip("/")
            entries = self.system.ls(path, detail=True, refresh=True)
        except FileNotFoundError as error:
            raise Error(
                f"{self.url}: no such model, revision or folder; a private or gated one needs "
                "HF_TOKEN"
            ) from error
        except Exception as error:  # of the libraries below it, too
            raise Error(f"{self.url}: {first_line(error)}") from error
        self.info = {e["name"].rsplit("/", 1)[1]: e for e in entries if e["type"] == "file"}
        return [RemoteFile(name, entry["size"]) for name, entry in self.info.items()]

    def version(self, name: str) -> str:
        return self.info[name]["blob_id"]

    def read(self, name: str, start: int, size: int) -> bytes:
        path = self.info[name]["name"]
        with self.system.open(path, block_size=size, cache_type="none") as file:
            file.seek(start)
            return file.read(size)


FOLDERS = {"gs": GoogleFolder, "s3": AmazonFolder, "hf": HubFolder}


def first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
