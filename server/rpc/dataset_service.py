"""DatasetService: streamed upload with resume, reading, listing."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from liftos.bayes.v1 import dataset_pb2, dataset_pb2_grpc

from persistence import idempotency as requests
from persistence import uploads as datasets
from persistence.database import Database
from persistence.lookup import ensure_client, get_owned
from persistence.tables import Dataset
from server.contract.errors import Reason, ServiceError, already_exists, invalid_data, invalid_field, not_found
from server.contract.wire import fingerprint, method_of, to_json
from server.records.content import check_header, decode
from server.records.lookups import owned, sealed_dataset
from server.records.messages import dataset_message
from server.rpc.once import seen_before
from server.rpc.pages import page_of

Context = grpc.aio.ServicerContext[Any, Any]


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    """Data sets of a client; immutable once sealed."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def UploadDataset(
        self, request_iterator: AsyncIterator[dataset_pb2.UploadDatasetRequest], context: Context
    ) -> dataset_pb2.UploadDatasetResponse:
        """Store the chunks as they come, each durably before the next is read; check and seal at the end."""
        requests_in = aiter(request_iterator)
        first = await anext(requests_in, None)
        if first is None or first.WhichOneof("part") != "header":
            raise invalid_field("header", "the first message of an upload is its header")
        header = first.header
        total = check_header(header)
        mark = fingerprint(header)
        async with self.database.session() as session:
            await ensure_client(session, header.client_id)
            row = await get_owned(session, Dataset, header.client_id, header.dataset_id, for_update=True)
            if row is None:
                row = await datasets.begin_upload(
                    session,
                    header.client_id,
                    header.dataset_id,
                    columns=[to_json(column) for column in header.columns],
                    row_count=header.row_count,
                    total_bytes=total,
                    fingerprint=mark,
                )
            elif row.fingerprint != mark:
                raise already_exists("data set", header.dataset_id, "header.dataset_id")
            await requests.remember(
                session, header.client_id, method_of(dataset_pb2.UploadDatasetRequest), header.request_id, mark
            )
            offset = row.committed_bytes
            sealed = row.state == "SEALED"
        if not sealed:
            async for request in requests_in:
                offset = await self._store(header, request, offset, total)
            if offset < total:
                raise ServiceError(
                    Reason.INVALID_STATE,
                    f"the stream ended after {offset} of {total} bytes; call again and go on from there",
                    metadata={"state": "UPLOADING", "committed_offset": str(offset)},
                )
            await self._seal(header)
        async with self.database.session() as session:
            row = await owned(session, Dataset, header.client_id, header.dataset_id)
            return dataset_pb2.UploadDatasetResponse(dataset=dataset_message(row))

    async def _store(
        self, header: dataset_pb2.DatasetHeader, request: dataset_pb2.UploadDatasetRequest, offset: int, total: int
    ) -> int:
        if request.WhichOneof("part") != "chunk":
            raise invalid_field("chunk", "every message after the header is a chunk")
        chunk = request.chunk
        if chunk.offset != offset:
            raise invalid_field("chunk.offset", f"{chunk.offset}, but {offset} bytes are stored; go on from there")
        if offset + len(chunk.data) > total:
            raise invalid_field("chunk.data", f"goes beyond the {total} bytes that the header announces")
        if zlib.crc32(chunk.data) != chunk.crc32:
            raise invalid_data("chunk.crc32", f"the bytes from {offset} on were damaged on their way")
        async with self.database.session() as session:
            row = await owned(session, Dataset, header.client_id, header.dataset_id, for_update=True)
            if row.state == "SEALED":
                return total
            if row.committed_bytes != offset:
                raise ServiceError(
                    Reason.INVALID_STATE,
                    "another stream is writing the same upload",
                    metadata={"state": "UPLOADING", "committed_offset": str(row.committed_bytes)},
                )
            await datasets.append_chunk(session, row, offset, chunk.data, chunk.crc32)
        return offset + len(chunk.data)

    async def _seal(self, header: dataset_pb2.DatasetHeader) -> None:
        async with self.database.session() as session:
            row = await owned(session, Dataset, header.client_id, header.dataset_id, for_update=True)
            if row.state == "SEALED":
                return
            content = await datasets.read_content(session, row)
            try:
                # Decoding millions of rows takes longer than an event loop may stand still.
                table = await asyncio.to_thread(decode, header.columns, header.row_count, content)
                sha256 = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
                if sha256 != header.sha256:
                    raise invalid_data("header.sha256", f"the digest of the content is {sha256}")
            except ServiceError as error:
                refused = error
            else:
                await datasets.seal(
                    session,
                    row,
                    sha256=sha256,
                    first_date=table.first_date,
                    last_date=table.last_date,
                    grain=table.grain,
                    month_day=table.month_day,
                )
                return
        # Data that break a rule can never be sealed: discard them, so that the identifier is free for a corrected one.
        async with self.database.session() as session:
            row = await owned(session, Dataset, header.client_id, header.dataset_id, for_update=True)
            await datasets.discard(session, row)
        raise refused

    async def GetUpload(self, request: dataset_pb2.GetUploadRequest, context: Context) -> dataset_pb2.GetUploadResponse:
        """Tell the committed offset."""
        async with self.database.session() as session:
            row = await owned(session, Dataset, request.client_id, request.dataset_id)
            return dataset_pb2.GetUploadResponse(
                committed_offset=row.committed_bytes, total_bytes=row.total_bytes, sealed=row.state == "SEALED"
            )

    async def GetDataset(
        self, request: dataset_pb2.GetDatasetRequest, context: Context
    ) -> dataset_pb2.GetDatasetResponse:
        """Return a sealed data set's description."""
        async with self.database.session() as session:
            row = await sealed_dataset(session, request.client_id, request.dataset_id)
            return dataset_pb2.GetDatasetResponse(dataset=dataset_message(row))

    async def ListDatasets(
        self, request: dataset_pb2.ListDatasetsRequest, context: Context
    ) -> dataset_pb2.ListDatasetsResponse:
        """List the sealed data sets of a client."""
        async with self.database.session() as session:

            async def build(row: Dataset) -> dataset_pb2.Dataset:
                return dataset_message(row)

            sealed, token = await page_of(session, Dataset, request, "", build, Dataset.state == "SEALED")
            return dataset_pb2.ListDatasetsResponse(datasets=sealed, next_page_token=token)

    async def DeleteDataset(
        self, request: dataset_pb2.DeleteDatasetRequest, context: Context
    ) -> dataset_pb2.DeleteDatasetResponse:
        """Delete a data set, or an unfinished upload."""
        async with self.database.session() as session:
            replay = await seen_before(session, request)
            if replay is not None:
                return dataset_pb2.DeleteDatasetResponse()
            row = await owned(session, Dataset, request.client_id, request.dataset_id, for_update=True)
            try:
                await datasets.remove(session, row)
            except datasets.DatasetInUse as error:
                raise ServiceError(Reason.IN_USE, "a model uses the data set") from error
            return dataset_pb2.DeleteDatasetResponse()

    async def ReadDataset(
        self, request: dataset_pb2.ReadDatasetRequest, context: Context
    ) -> AsyncIterator[dataset_pb2.ReadDatasetResponse]:
        """Stream the content from an offset on; no transaction is held open between two chunks."""
        async with self.database.session() as session:
            row = await sealed_dataset(session, request.client_id, request.dataset_id)
            if request.offset > row.total_bytes:
                raise invalid_field("offset", f"the content has {row.total_bytes} bytes")
        offset = request.offset
        while offset < row.total_bytes:
            async with self.database.session() as session:
                stored = await datasets.read_chunk(session, row, offset)
            if stored is None:
                raise not_found("data set", request.dataset_id, "dataset_id")
            data = stored.data[offset - stored.start_offset :]
            yield dataset_pb2.ReadDatasetResponse(
                chunk=dataset_pb2.DatasetChunk(offset=offset, data=data, crc32=zlib.crc32(data))
            )
            offset += len(data)
