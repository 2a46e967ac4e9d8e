# Generated from aio.py by clients/sync.py; edit the source.

"""The synchronous client: one namespace for each service, messages of the contract as answers."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, Unpack

import grpc
from google.protobuf import field_mask_pb2
from google.protobuf.message import Message
from liftos.bayes import calls, requests, tables
from liftos.bayes.calls import Stubs, Tls
from liftos.bayes.errors import DeadlineExceeded, NotFound, Unavailable, from_rpc_error
from liftos.bayes.requests import Name, checked, id_or_new, plain
from liftos.bayes.transport import Transport
from liftos.bayes.v1 import (
    attribution_pb2,
    common_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    model_pb2,
    prior_update_pb2,
    sbc_pb2,
    system_pb2,
)
from liftos.bayes.values import Stated, built, checked_money, enum_value, statement

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class _Connection(Transport):
    """What all namespaces share: channel, stubs, identity and the way a call is made."""

    def __init__(self, channel: grpc.Channel, stubs: Stubs, client_id: str, timeout: float) -> None:
        self.channel = channel
        self.stubs = stubs
        self.client_id = client_id
        self.timeout = timeout

    def close(self) -> None:
        self.closed = True
        self.channel.close()

    def unary(self, method: grpc.UnaryUnaryMultiCallable[Req, Res], request: Req, timeout: float | None) -> Res:
        """Check a request, send it and repeat it while that helps and the timeout allows."""
        checked(request)
        retry = calls.Retry(self.timeout if timeout is None else timeout)
        while True:
            self.check_open()
            try:
                with self.under_way():
                    return method(request, timeout=retry.remaining())
            except grpc.RpcError as error:
                delay = retry.after(from_rpc_error(error))
            self.pause(delay)

    def pages(
        self, method: grpc.UnaryUnaryMultiCallable[Req, Res], request: Any, timeout: float | None
    ) -> Iterator[Res]:
        """Every page of a list, each fetched when it is needed."""
        while True:
            page: Any = self.unary(method, request, timeout)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


class _Namespace:
    def __init__(self, connection: _Connection) -> None:
        self._on = connection
        self._stubs = connection.stubs

    @property
    def _id(self) -> str:
        return self._on.client_id


class Datasets(_Namespace):
    """Data sets: upload, read, list, delete."""

    def upload(
        self,
        dataset_id: str,
        columns: tables.Columns,
        *,
        time: str,
        kpi: str,
        exposures: Sequence[str] = (),
        spend: Sequence[str] = (),
        controls: Sequence[str] = (),
        revenue_per_kpi: str | None = None,
        population: str | None = None,
        geo: str | None = None,
        units: Mapping[str, str] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> dataset_pb2.Dataset:
        """Upload the named columns of a table (a mapping of names to sequences, or a data frame) and seal it.

        Dates are ISO strings, `date`, `datetime` or `datetime64`; numbers anything that is a float. With a `geo` column
        (text or whole numbers) the table is a panel: one row per geo and date, each geo with the same dates in
        increasing order, the geos in any order; `population` is that of the geo, the same on all its dates.

        A broken stream is resumed where the server has stored it. The same data set again is returned; other values
        under the same id raise AlreadyExists. Data that break a rule raise InvalidArgument with reason INVALID_DATA and
        the cell. The timeout grows by a second for each MiB.
        """
        roles = tables.Roles(time, kpi, exposures, spend, controls, revenue_per_kpi, population, geo)
        return self._upload(dataset_id, columns, roles, units, timeout, request_id)

    def upload_csv(
        self,
        dataset_id: str,
        path: tables.Path,
        *,
        time: str,
        kpi: str,
        exposures: Sequence[str] = (),
        spend: Sequence[str] = (),
        controls: Sequence[str] = (),
        revenue_per_kpi: str | None = None,
        population: str | None = None,
        geo: str | None = None,
        units: Mapping[str, str] | None = None,
        encoding: str = "utf-8-sig",
        delimiter: str = ",",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> dataset_pb2.Dataset:
        """Upload the named columns of a CSV file with a header line and ISO dates; see `upload`."""
        roles = tables.Roles(time, kpi, exposures, spend, controls, revenue_per_kpi, population, geo)
        columns = self._on.aside(tables.read_csv, path, roles, encoding=encoding, delimiter=delimiter)
        return self._upload(dataset_id, columns, roles, units, timeout, request_id)

    def _upload(
        self,
        dataset_id: str,
        columns: tables.Columns,
        roles: tables.Roles,
        units: Mapping[str, str] | None,
        timeout: float | None,
        request_id: str | None,
    ) -> dataset_pb2.Dataset:
        upload = self._on.aside(
            tables.upload, self._id, dataset_id, columns, roles, units=units, request_id=id_or_new(request_id)
        )
        checked(dataset_pb2.UploadDatasetRequest(header=upload.header))
        seconds = calls.upload_timeout(self._on.timeout if timeout is None else timeout, upload.content.size)
        retry = calls.UploadRetry()
        while True:
            self._on.check_open()
            try:
                with self._on.under_way():
                    messages = upload.messages(retry.offset)
                    return self._stubs.datasets.UploadDataset(messages, timeout=seconds).dataset
            except grpc.RpcError as error:
                delay = retry.after(from_rpc_error(error))
            self._on.pause(delay)
            request = plain(dataset_pb2.GetUploadRequest, client_id=self._id, dataset_id=dataset_id)
            try:
                retry.resume(self._on.unary(self._stubs.datasets.GetUpload, request, timeout).committed_offset)
            except NotFound:  # the stream broke before anything was stored
                retry.resume(0)

    def get(self, dataset_id: str, *, timeout: float | None = None) -> dataset_pb2.Dataset:
        """Description of a sealed data set."""
        request = plain(dataset_pb2.GetDatasetRequest, client_id=self._id, dataset_id=dataset_id)
        return self._on.unary(self._stubs.datasets.GetDataset, request, timeout).dataset

    def list(self, *, page_size: int = 0, timeout: float | None = None) -> Iterator[dataset_pb2.Dataset]:
        """All data sets, newest first, fetched page by page."""
        request = plain(dataset_pb2.ListDatasetsRequest, client_id=self._id, page_size=page_size)
        for page in self._on.pages(self._stubs.datasets.ListDatasets, request, timeout):
            yield from page.datasets

    def read(self, dataset_id: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Columns of a sealed data set: dates as a list of `datetime.date`, the others as `array.array`.

        A broken stream is resumed; checksums of the chunks and the digest of the whole are verified.
        """
        dataset = self.get(dataset_id, timeout=timeout)
        reader = tables.Reader(dataset)
        retry = calls.StreamRetry(timeout)
        while True:
            self._on.check_open()
            request = checked(
                plain(dataset_pb2.ReadDatasetRequest, client_id=self._id, dataset_id=dataset_id, offset=reader.offset)
            )
            call: Any = self._stubs.datasets.ReadDataset(request, timeout=retry.remaining())
            try:
                with self._on.under_way():
                    for response in call:
                        reader.add(response.chunk)
                        retry.alive()
                    return self._on.aside(reader.columns)
            except grpc.RpcError as error:
                delay = retry.after(from_rpc_error(error))
            finally:
                call.cancel()
            self._on.pause(delay)

    def delete(self, dataset_id: str, *, timeout: float | None = None, request_id: str | None = None) -> None:
        """Delete a data set that no model uses, or an unfinished upload."""
        request = plain(
            dataset_pb2.DeleteDatasetRequest,
            client_id=self._id,
            dataset_id=dataset_id,
            request_id=id_or_new(request_id),
        )
        self._on.unary(self._stubs.datasets.DeleteDataset, request, timeout)


class Models(_Namespace):
    """Models: registration, reading, listing, deletion."""

    def register(
        self,
        model_id: str,
        spec: model_pb2.ModelSpec,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> model_pb2.Model:
        """Register a model by its specification as a message of the contract."""
        request = plain(
            model_pb2.RegisterModelRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            model_id=model_id,
            spec=spec,
        )
        return self._on.unary(self._stubs.models.RegisterModel, request, timeout).model

    def register_mmm(
        self,
        model_id: str,
        *,
        dataset_id: str,
        channels: Sequence[str | model_pb2.Channel],
        parameterise_by: Name = None,
        controls: Sequence[str | model_pb2.Control] = (),
        fourier_pairs: int = 0,
        trend: bool = True,
        sigma_prior_scale: float | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> model_pb2.Model:
        """Register an additive marketing-mix model on a data set, national or a panel of geos.

        A channel is the name of its exposure column or a `channel(...)`, a control the name of its column or a
        `control(...)`. `parameterise_by` (`"share_of_outcome"` or `"roi"`) is for the channels that do not say
        themselves; it has no default.
        """
        spec = requests.mmm_spec(
            dataset_id=dataset_id,
            channels=channels,
            parameterise_by=parameterise_by,
            controls=controls,
            fourier_pairs=fourier_pairs,
            trend=trend,
            sigma_prior_scale=sigma_prior_scale,
        )
        return self.register(model_id, spec, timeout=timeout, request_id=request_id)

    def register_summary(
        self,
        model_id: str,
        *,
        estimand: common_pb2.Estimand,
        estimate: float,
        standard_error: float,
        n_months: int,
        reference_prior: common_pb2.Distribution,
        window: tuple[datetime.date | str, datetime.date | str] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> model_pb2.Model:
        """Register a summary-level model: an estimate with its standard error stands for the data.

        `window`: first and last day of the data behind it; without them two summaries of one quantity are taken for
        the same data.
        """
        spec = requests.summary_spec(
            estimand=estimand,
            estimate=estimate,
            standard_error=standard_error,
            n_months=n_months,
            reference_prior=reference_prior,
            window=window,
        )
        return self.register(model_id, spec, timeout=timeout, request_id=request_id)

    def get(self, model_id: str, *, timeout: float | None = None) -> model_pb2.Model:
        """A model."""
        request = plain(model_pb2.GetModelRequest, client_id=self._id, model_id=model_id)
        return self._on.unary(self._stubs.models.GetModel, request, timeout).model

    def list(self, *, page_size: int = 0, timeout: float | None = None) -> Iterator[model_pb2.Model]:
        """All models, newest first, fetched page by page."""
        request = plain(model_pb2.ListModelsRequest, client_id=self._id, page_size=page_size)
        for page in self._on.pages(self._stubs.models.ListModels, request, timeout):
            yield from page.models

    def delete(self, model_id: str, *, timeout: float | None = None, request_id: str | None = None) -> None:
        """Delete a model that nothing refers to."""
        request = plain(
            model_pb2.DeleteModelRequest, client_id=self._id, model_id=model_id, request_id=id_or_new(request_id)
        )
        self._on.unary(self._stubs.models.DeleteModel, request, timeout)


class Elicitation(_Namespace):
    """Sessions in which beliefs are stated and confirmed."""

    def create(
        self,
        session_id: str,
        *,
        model_id: str,
        client_confidence: float | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> elicitation_pb2.ElicitationSession:
        """Open a session about a model."""
        request = built(
            elicitation_pb2.CreateElicitationSessionRequest,
            "",
            request_id=id_or_new(request_id),
            client_id=self._id,
            session_id=session_id,
            model_id=model_id,
            client_confidence=client_confidence,
        )
        return self._on.unary(self._stubs.elicitation.CreateElicitationSession, request, timeout).session

    def add_belief(
        self,
        session_id: str,
        belief_id: str,
        estimand: common_pb2.Estimand,
        *,
        wording: str = "",
        stated_by: str = "",
        role: Name = None,
        data_seen: bool | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
        **stated: Unpack[Stated],
    ) -> elicitation_pb2.Belief:
        """Add a belief and return it as compiled.

        It is stated in one of the forms that `liftos.bayes.values.Stated` describes: as `mean` ± `plus_minus` with its
        `meaning`, as `quantiles`, a `range` with its `probability`, a `roulette`, `mode_and_bounds`, a `distribution`,
        a `pooled` belief of several experts, or the `updated_prior` that an accepted update left; all but the last
        three perhaps with a `family`. `data_seen`: whether
        whoever states it had seen the data.
        """
        request = built(
            elicitation_pb2.AddBeliefRequest,
            "",
            request_id=id_or_new(request_id),
            client_id=self._id,
            session_id=session_id,
            belief_id=belief_id,
            estimand=estimand,
            statement=statement(**stated),
            wording=wording,
            stated_by=stated_by,
            role=enum_value(elicitation_pb2.BeliefRole, role, "role"),
            data_seen=data_seen,
        )
        return self._on.unary(self._stubs.elicitation.AddBelief, request, timeout).belief

    def add_shares(
        self,
        session_id: str,
        quantity: str | int,
        shares: Mapping[str, tuple[float, float]],
        *,
        meaning: str | int,
        level: float | None = None,
        belief_ids: Mapping[str, str] | None = None,
        wording: str = "",
        stated_by: str = "",
        data_seen: bool | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> elicitation_pb2.ElicitationSession:
        """Add beliefs about the shares of several channels at once, so that they sum to one.

        `quantity` is `"share_of_media"`, with every channel of the model, or `"share_of_outcome"`, with any; `shares`
        {channel: (mean, plus_minus)} with one `meaning` for all. A belief is named like its channel unless
        `belief_ids` {channel: belief_id} says otherwise.
        """
        request = plain(
            elicitation_pb2.AddShareBeliefsRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            session_id=session_id,
            quantity=enum_value(common_pb2.Quantity, quantity, "quantity"),
            shares=requests.channel_shares(shares, meaning=meaning, level=level, belief_ids=belief_ids),
            wording=wording,
            stated_by=stated_by,
            data_seen=data_seen,
        )
        return self._on.unary(self._stubs.elicitation.AddShareBeliefs, request, timeout).session

    def feedback(
        self,
        session_id: str,
        *,
        data_period_months: int | None = None,
        hold_out_months: int | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> elicitation_pb2.ElicitationFeedback:
        """What the beliefs of a session imply together, before they meet the data of a trailing window."""
        request = built(
            elicitation_pb2.GetElicitationFeedbackRequest,
            "",
            client_id=self._id,
            session_id=session_id,
            data_period_months=data_period_months,
            hold_out_months=hold_out_months,
            request_id=id_or_new(request_id),
        )
        return self._on.unary(self._stubs.elicitation.GetElicitationFeedback, request, timeout).feedback

    def remove_belief(
        self,
        session_id: str,
        belief_id: str,
        *,
        etag: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> elicitation_pb2.ElicitationSession:
        """Remove a belief; without an etag from the current version."""
        version = self.get(session_id, timeout=timeout).etag if etag is None else etag
        request = plain(
            elicitation_pb2.RemoveBeliefRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            session_id=session_id,
            belief_id=belief_id,
            etag=version,
        )
        return self._on.unary(self._stubs.elicitation.RemoveBelief, request, timeout).session

    def update(
        self,
        session_id: str,
        *,
        client_confidence: float | None,
        etag: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> elicitation_pb2.ElicitationSession:
        """Change the client's confidence, None for none; without an etag of the current version."""
        version = self.get(session_id, timeout=timeout).etag if etag is None else etag
        request = plain(
            elicitation_pb2.UpdateElicitationSessionRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            session_id=session_id,
            etag=version,
            patch=built(elicitation_pb2.ElicitationSessionPatch, "patch", client_confidence=client_confidence),
            update_mask=field_mask_pb2.FieldMask(paths=["client_confidence"]),
        )
        return self._on.unary(self._stubs.elicitation.UpdateElicitationSession, request, timeout).session

    def confirm(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> elicitation_pb2.ElicitationSession:
        """Confirm a session, which makes it immutable; without an etag its current version."""
        version = self.get(session_id, timeout=timeout).etag if etag is None else etag
        request = plain(
            elicitation_pb2.ConfirmElicitationSessionRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            session_id=session_id,
            etag=version,
        )
        return self._on.unary(self._stubs.elicitation.ConfirmElicitationSession, request, timeout).session

    def adopt_update(
        self,
        update_id: str,
        session_id: str,
        *,
        model_id: str = "",
        projected: bool = False,
        client_confidence: float | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> elicitation_pb2.ElicitationSession:
        """Open a session whose beliefs are the priors of an accepted update, to be confirmed and met by other data.

        `model_id`: the model that it is about, by default that of the update. `projected`: take the projections of
        the priors on one family.
        """
        request = built(
            elicitation_pb2.AdoptPriorUpdateRequest,
            "",
            request_id=id_or_new(request_id),
            client_id=self._id,
            update_id=update_id,
            session_id=session_id,
            model_id=model_id,
            projected=projected,
            client_confidence=client_confidence,
        )
        return self._on.unary(self._stubs.elicitation.AdoptPriorUpdate, request, timeout).session

    def get(self, session_id: str, *, timeout: float | None = None) -> elicitation_pb2.ElicitationSession:
        """A session with its beliefs."""
        request = plain(elicitation_pb2.GetElicitationSessionRequest, client_id=self._id, session_id=session_id)
        return self._on.unary(self._stubs.elicitation.GetElicitationSession, request, timeout).session

    def list(self, *, page_size: int = 0, timeout: float | None = None) -> Iterator[elicitation_pb2.ElicitationSession]:
        """All sessions, newest first, fetched page by page."""
        request = plain(elicitation_pb2.ListElicitationSessionsRequest, client_id=self._id, page_size=page_size)
        for page in self._on.pages(self._stubs.elicitation.ListElicitationSessions, request, timeout):
            yield from page.sessions

    def fit_prior(
        self,
        quantity: str | int,
        *,
        timeout: float | None = None,
        **stated: Unpack[Stated],
    ) -> elicitation_pb2.FitPriorResponse:
        """Compile a statement about a quantity (`"roi"`, …) without storing it; the statement is as in `add_belief`."""
        request = plain(
            elicitation_pb2.FitPriorRequest,
            client_id=self._id,
            quantity=enum_value(common_pb2.Quantity, quantity, "quantity"),
            statement=statement(**stated),
        )
        return self._on.unary(self._stubs.elicitation.FitPrior, request, timeout)


class Conflicts(_Namespace):
    """Conflict of beliefs and data."""

    def analyze(
        self,
        session_id: str,
        *,
        data_period_months: int | None = None,
        hold_out_months: int | None = None,
        confidence_threshold: float | None = None,
        business_impact: common_pb2.Money | None = None,
        expert_session_id: str = "",
        replicates: int | None = None,
        without_causes: bool = False,
        compare_curves: bool = False,
        exploratory: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> conflict_pb2.ConflictAnalysis:
        """Compare every belief of a confirmed session with the data and wait for the result.

        `expert_session_id`: another confirmed session on the model, whose beliefs are compared with this one's.
        `replicates`: data sets to replicate for the replicated-data p-value. `without_causes`: do not look for other
        causes of a strong conflict. `compare_curves`: tell what every saturation curve says too. `hold_out_months`:
        months at the end of the data to leave for later.
        `exploratory`: go on although a prior has seen rows of the window; the result is stamped. When the timeout is
        over, DeadlineExceeded has reason STILL_RUNNING; the same `request_id` finds the analysis.
        """
        request = built(
            conflict_pb2.AnalyzeConflictRequest,
            "",
            request_id=id_or_new(request_id),
            client_id=self._id,
            session_id=session_id,
            data_period_months=data_period_months,
            hold_out_months=hold_out_months,
            confidence_threshold=confidence_threshold,
            business_impact=checked_money(business_impact, "business_impact"),
            expert_session_id=expert_session_id,
            replicates=replicates,
            without_causes=without_causes,
            compare_curves=compare_curves,
            exploratory=exploratory,
        )
        return self._on.unary(self._stubs.conflicts.AnalyzeConflict, request, timeout).analysis

    def get(self, analysis_id: str, *, timeout: float | None = None) -> conflict_pb2.ConflictAnalysis:
        """An analysis."""
        request = plain(conflict_pb2.GetConflictRequest, client_id=self._id, analysis_id=analysis_id)
        return self._on.unary(self._stubs.conflicts.GetConflict, request, timeout).analysis

    def list(
        self, *, session_id: str = "", page_size: int = 0, timeout: float | None = None
    ) -> Iterator[conflict_pb2.ConflictAnalysis]:
        """All analyses, or those of a session, newest first, fetched page by page."""
        request = plain(
            conflict_pb2.ListConflictsRequest, client_id=self._id, session_id=session_id, page_size=page_size
        )
        for page in self._on.pages(self._stubs.conflicts.ListConflicts, request, timeout):
            yield from page.analyses

    def record_outcome(
        self,
        analysis_id: str,
        belief_id: str,
        *,
        recorded_by: str,
        side: Name = None,
        experiment: common_pb2.Experiment | None = None,
        reason: str = "",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> conflict_pb2.ConflictOutcome:
        """Record in whose favour the conflict of a belief was resolved; earlier records stay.

        With an `experiment` the side may be left out: it is the one that the experiment's estimate is nearer to.
        """
        request = built(
            conflict_pb2.RecordConflictOutcomeRequest,
            "",
            request_id=id_or_new(request_id),
            client_id=self._id,
            analysis_id=analysis_id,
            belief_id=belief_id,
            side=enum_value(conflict_pb2.OutcomeSide, side, "side"),
            experiment=experiment,
            reason=reason,
            recorded_by=recorded_by,
        )
        return self._on.unary(self._stubs.conflicts.RecordConflictOutcome, request, timeout).outcome

    def outcomes(
        self, *, analysis_id: str = "", page_size: int = 0, timeout: float | None = None
    ) -> Iterator[conflict_pb2.ConflictOutcome]:
        """All recorded outcomes, or those of an analysis, newest first, fetched page by page."""
        request = plain(
            conflict_pb2.ListConflictOutcomesRequest, client_id=self._id, analysis_id=analysis_id, page_size=page_size
        )
        for page in self._on.pages(self._stubs.conflicts.ListConflictOutcomes, request, timeout):
            yield from page.outcomes

    def outcome_report(self, *, timeout: float | None = None) -> conflict_pb2.GetOutcomeReportResponse:
        """How often the data were right, by severity."""
        request = plain(conflict_pb2.GetOutcomeReportRequest, client_id=self._id)
        return self._on.unary(self._stubs.conflicts.GetOutcomeReport, request, timeout)

    def curve(self, curve_id: str, *, timeout: float | None = None) -> conflict_pb2.EvidenceCurve:
        """A stored evidence curve."""
        request = plain(conflict_pb2.GetEvidenceCurveRequest, client_id=self._id, curve_id=curve_id)
        return self._on.unary(self._stubs.conflicts.GetEvidenceCurve, request, timeout).curve


class SbcRunHandle:
    """A run of simulation-based calibration. The run belongs to the service; dropping the handle does not touch it."""

    def __init__(self, connection: _Connection, run_id: str, *, reused: bool = False) -> None:
        self._on = connection
        self.run_id = run_id
        self.reused = reused
        """Whether the run was answered from the store instead of being computed."""

    def __repr__(self) -> str:
        return f"SbcRunHandle({self.run_id!r})"

    def get(self, *, timeout: float | None = None) -> sbc_pb2.SbcRun:
        """The run as it stands."""
        return Sbc(self._on).get(self.run_id, timeout=timeout)

    def events(
        self, *, after_sequence: int = 0, heartbeats: bool = False, timeout: float | None = None
    ) -> Iterator[sbc_pb2.SbcEvent]:
        """The events of the run after a sequence number, until its end.

        Re-attaches by itself when the stream breaks, so that no event is missed or seen twice; raises Unavailable after
        five minutes without a sign of life. Without a timeout it waits as long as the run takes.
        """
        cursor = calls.Cursor(after_sequence, heartbeats=heartbeats)
        retry = calls.StreamRetry(timeout)
        while True:
            self._on.check_open()
            request = checked(
                built(
                    sbc_pb2.WatchSbcRunRequest,
                    "",
                    client_id=self._on.client_id,
                    run_id=self.run_id,
                    after_sequence=cursor.sequence,
                )
            )
            call: Any = self._on.stubs.sbc.WatchSbcRun(request, timeout=retry.remaining())
            try:
                with self._on.under_way():
                    for response in call:
                        retry.alive()
                        if cursor.take(response.event):
                            yield response.event
                # Only the end of the stream is the end of the run: it may have been resumed or extended since.
                if cursor.ended or cursor.ended_with(self.get()):
                    return
                delay = retry.after(Unavailable("the stream ended before the run did"))
            except grpc.RpcError as error:
                self._on.check_open()
                if cursor.ended and self._over(cursor):
                    return
                delay = retry.after(from_rpc_error(error))
            finally:
                call.cancel()
            self._on.pause(delay)

    def ledger(
        self, *, part: Name = None, first_simulation: int = 0, timeout: float | None = None
    ) -> Iterator[sbc_pb2.ReadSbcLedgerResponse]:
        """The ledger of the run in pages of some thousand simulations; by default of its first part."""
        return Sbc(self._on).ledger(self.run_id, part=part, first_simulation=first_simulation, timeout=timeout)

    def _over(self, cursor: calls.Cursor) -> bool:
        """Whether the run has ended with the last event seen; False as well when that cannot be asked now."""
        try:
            return cursor.ended_with(self.get())
        except Unavailable:
            return False

    def result(self, *, timeout: float | None = None) -> sbc_pb2.SbcRun:
        """Wait for the end and return the run with its verdict; a cancelled run has the verdict CANCELLED.

        A RECOVERY run has no verdict but its report, `recovery`.

        Raises FailedPrecondition with the run's own reason if it failed, and DeadlineExceeded with reason STILL_RUNNING
        when the timeout is over. Without a timeout it waits as long as the run takes.
        """
        begun = time.monotonic()
        run = self.get(timeout=timeout)
        if run.state not in calls.TERMINAL_STATES:
            left = None if timeout is None else max(timeout - (time.monotonic() - begun), 0.0)
            try:
                for _ in self.events(after_sequence=run.last_sequence, timeout=left):
                    pass
            except DeadlineExceeded:
                raise calls.still_running(self.run_id) from None
            run = self.get()
        return calls.finished(run)

    def cancel(self, *, timeout: float | None = None, request_id: str | None = None) -> sbc_pb2.SbcRun:
        """Cancel the run; what is finished stays in the ledger."""
        return Sbc(self._on).cancel(self.run_id, timeout=timeout, request_id=request_id)

    def resume(self, *, timeout: float | None = None, request_id: str | None = None) -> sbc_pb2.SbcRun:
        """Go on with the run after it was cancelled or failed; `events` go on with the next number."""
        return Sbc(self._on).resume(self.run_id, timeout=timeout, request_id=request_id)

    def extend(
        self, additional_simulations: int, *, timeout: float | None = None, request_id: str | None = None
    ) -> sbc_pb2.SbcRun:
        """Add simulations to the run after a PASS or an INCONCLUSIVE verdict; `events` go on with the next number."""
        return Sbc(self._on).extend(self.run_id, additional_simulations, timeout=timeout, request_id=request_id)


class Sbc(_Namespace):
    """Simulation-based calibration: the decision, runs and their events."""

    def start(
        self,
        *,
        model_id: str,
        session_id: str = "",
        validation_type: Name = None,
        num_simulations: int | None = None,
        data_period_months: int | None = None,
        hold_out_months: int | None = None,
        seed: int | None = None,
        stop_on_fail: bool = False,
        alpha: float | None = None,
        inference_method: Name = None,
        further_quantities: Sequence[str] = (),
        canaries: bool = False,
        fresh: bool = False,
        fixed_truth: Mapping[str, float] | None = None,
        other_truths: Name = None,
        validate_only: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> sbc_pb2.SbcRun:
        """Start a run and return it at once; with `validate_only` only check whether it could be started.

        A RECOVERY run simulates at `fixed_truth`, values by name of a parameter or a fixed multiple of one, and at
        `other_truths`, `prior_median` or `posterior_mean`, for the parameters that it does not name.
        """
        spec = requests.run_spec(
            model_id=model_id,
            session_id=session_id,
            validation_type=validation_type,
            num_simulations=num_simulations,
            data_period_months=data_period_months,
            hold_out_months=hold_out_months,
            seed=seed,
            stop_on_fail=stop_on_fail,
            alpha=alpha,
            inference_method=inference_method,
            further_quantities=further_quantities,
            canaries=canaries,
            fresh=fresh,
            fixed_truth=fixed_truth or {},
            other_truths=other_truths,
        )
        request = plain(
            sbc_pb2.StartSbcRunRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            spec=spec,
            validate_only=validate_only,
        )
        return self._on.unary(self._stubs.sbc.StartSbcRun, request, timeout).run

    def run(
        self,
        *,
        model_id: str,
        session_id: str = "",
        validation_type: Name = None,
        num_simulations: int | None = None,
        data_period_months: int | None = None,
        hold_out_months: int | None = None,
        seed: int | None = None,
        stop_on_fail: bool = False,
        alpha: float | None = None,
        inference_method: Name = None,
        further_quantities: Sequence[str] = (),
        canaries: bool = False,
        fresh: bool = False,
        fixed_truth: Mapping[str, float] | None = None,
        other_truths: Name = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> SbcRunHandle:
        """Start a run and return a handle on its events and its result; the timeout is for the start alone.

        `fixed_truth` and `other_truths` are those of a RECOVERY run, as in `start`.
        """
        spec = requests.run_spec(
            model_id=model_id,
            session_id=session_id,
            validation_type=validation_type,
            num_simulations=num_simulations,
            data_period_months=data_period_months,
            hold_out_months=hold_out_months,
            seed=seed,
            stop_on_fail=stop_on_fail,
            alpha=alpha,
            inference_method=inference_method,
            further_quantities=further_quantities,
            canaries=canaries,
            fresh=fresh,
            fixed_truth=fixed_truth or {},
            other_truths=other_truths,
        )
        request = plain(
            sbc_pb2.StartSbcRunRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            spec=spec,
            validate_only=False,
        )
        started = self._on.unary(self._stubs.sbc.StartSbcRun, request, timeout)
        return SbcRunHandle(self._on, started.run.run_id, reused=started.reused)

    def attach(self, run_id: str) -> SbcRunHandle:
        """A handle on a run that was started before, here or elsewhere; sends nothing."""
        checked(plain(sbc_pb2.GetSbcRunRequest, client_id=self._id, run_id=run_id))
        return SbcRunHandle(self._on, run_id)

    def get(self, run_id: str, *, timeout: float | None = None) -> sbc_pb2.SbcRun:
        """A run as it stands."""
        request = plain(sbc_pb2.GetSbcRunRequest, client_id=self._id, run_id=run_id)
        return self._on.unary(self._stubs.sbc.GetSbcRun, request, timeout).run

    def list(self, *, model_id: str = "", page_size: int = 0, timeout: float | None = None) -> Iterator[sbc_pb2.SbcRun]:
        """All runs, or those of a model, newest first, fetched page by page."""
        request = plain(sbc_pb2.ListSbcRunsRequest, client_id=self._id, model_id=model_id, page_size=page_size)
        for page in self._on.pages(self._stubs.sbc.ListSbcRuns, request, timeout):
            yield from page.runs

    def cancel(self, run_id: str, *, timeout: float | None = None, request_id: str | None = None) -> sbc_pb2.SbcRun:
        """Cancel a run."""
        request = plain(
            sbc_pb2.CancelSbcRunRequest, request_id=id_or_new(request_id), client_id=self._id, run_id=run_id
        )
        return self._on.unary(self._stubs.sbc.CancelSbcRun, request, timeout).run

    def resume(self, run_id: str, *, timeout: float | None = None, request_id: str | None = None) -> sbc_pb2.SbcRun:
        """Go on with a cancelled or failed run; what is in its ledger stays."""
        request = plain(
            sbc_pb2.ResumeSbcRunRequest, request_id=id_or_new(request_id), client_id=self._id, run_id=run_id
        )
        return self._on.unary(self._stubs.sbc.ResumeSbcRun, request, timeout).run

    def ledger(
        self, run_id: str, *, part: Name = None, first_simulation: int = 0, timeout: float | None = None
    ) -> Iterator[sbc_pb2.ReadSbcLedgerResponse]:
        """The ledger of a run in pages of some thousand simulations; by default of its first part."""
        request = checked(
            built(
                sbc_pb2.ReadSbcLedgerRequest,
                "",
                client_id=self._id,
                run_id=run_id,
                part=enum_value(sbc_pb2.SbcPart, part, "part"),
                first_simulation=first_simulation,
            )
        )
        self._on.check_open()
        call: Any = self._stubs.sbc.ReadSbcLedger(request, timeout=timeout)
        try:
            yield from call
        except grpc.RpcError as error:
            self._on.check_open()
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    def extend(
        self,
        run_id: str,
        additional_simulations: int,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> sbc_pb2.SbcRun:
        """Add simulations of the same seed stream to a finished run."""
        request = built(
            sbc_pb2.ExtendSbcRunRequest,
            "",
            request_id=id_or_new(request_id),
            client_id=self._id,
            run_id=run_id,
            additional_simulations=additional_simulations,
        )
        return self._on.unary(self._stubs.sbc.ExtendSbcRun, request, timeout).run

    def check_necessity(
        self,
        *,
        model_complexity: int | None = None,
        bayes_factor: float | None = None,
        log_bayes_factor: float | None = None,
        conflict_severity: Name = None,
        business_impact: common_pb2.Money | None = None,
        client_confidence: float | None = None,
        model_id: str = "",
        data_period_months: int | None = None,
        hold_out_months: int | None = None,
        policy_version: int | None = None,
        timeout: float | None = None,
    ) -> sbc_pb2.SbcNecessity:
        """Decide whether simulation-based calibration is essential; an input that is not given is missing, not zero.

        `log_bayes_factor` is for factors that overflow. `policy_version` decides under an older version of the policy.
        """
        request = built(
            sbc_pb2.CheckSbcNecessityRequest,
            "",
            client_id=self._id,
            model_complexity=model_complexity,
            bayes_factor=bayes_factor,
            log_bayes_factor=log_bayes_factor,
            conflict_severity=enum_value(sbc_pb2.ConflictSeverity, conflict_severity, "conflict_severity"),
            business_impact=checked_money(business_impact, "business_impact"),
            client_confidence=client_confidence,
            model_id=model_id,
            data_period_months=data_period_months,
            hold_out_months=hold_out_months,
            policy_version=policy_version,
        )
        return self._on.unary(self._stubs.sbc.CheckSbcNecessity, request, timeout).necessity

    def policies(self, *, page_size: int = 0, timeout: float | None = None) -> Iterator[sbc_pb2.NecessityPolicy]:
        """All versions of the policy, the one in force first, the built-in one last, fetched page by page."""
        request = plain(sbc_pb2.ListNecessityPoliciesRequest, client_id=self._id, page_size=page_size)
        for page in self._on.pages(self._stubs.sbc.ListNecessityPolicies, request, timeout):
            yield from page.policies

    def create_policy(
        self,
        *,
        model_complexity: int,
        bayes_factor: float,
        business_impact: common_pb2.Money,
        client_confidence: float,
        adopted_by: str,
        reason: str = "",
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> sbc_pb2.NecessityPolicy:
        """Put new thresholds in force for the decisions from now on; `replay_policy` shows first what they would do."""
        wanted = requests.thresholds(model_complexity, bayes_factor, business_impact, client_confidence)
        request = plain(
            sbc_pb2.CreateNecessityPolicyRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            thresholds=wanted,
            adopted_by=adopted_by,
            reason=reason,
        )
        return self._on.unary(self._stubs.sbc.CreateNecessityPolicy, request, timeout).policy

    def decisions(self, *, page_size: int = 0, timeout: float | None = None) -> Iterator[sbc_pb2.StoredDecision]:
        """All stored decisions, newest first, fetched page by page."""
        request = plain(sbc_pb2.ListNecessityDecisionsRequest, client_id=self._id, page_size=page_size)
        for page in self._on.pages(self._stubs.sbc.ListNecessityDecisions, request, timeout):
            yield from page.decisions

    def replay_policy(
        self,
        *,
        model_complexity: int,
        bayes_factor: float,
        business_impact: common_pb2.Money,
        client_confidence: float,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> sbc_pb2.ReplayNecessityPolicyResponse:
        """Make all past decisions again under other thresholds and return those that differ; changes nothing."""
        wanted = requests.thresholds(model_complexity, bayes_factor, business_impact, client_confidence)
        request = plain(
            sbc_pb2.ReplayNecessityPolicyRequest,
            client_id=self._id,
            thresholds=wanted,
            request_id=id_or_new(request_id),
        )
        return self._on.unary(self._stubs.sbc.ReplayNecessityPolicy, request, timeout)


class Updates(_Namespace):
    """Recommended prior updates and the decisions on them."""

    def propose(
        self,
        session_id: str,
        *,
        update_strategy: Name = None,
        min_evidence_strength: float | None = None,
        analysis_id: str = "",
        experiments: Sequence[common_pb2.Experiment] = (),
        power: float | None = None,
        robust_weight: float | None = None,
        gate: bool = True,
        conservative_p_value: float | None = None,
        project_to: Name = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> prior_update_pb2.PriorUpdate:
        """Recommend an update for every belief of a session.

        From the analysis with this id, or the latest successful one that is not exploratory; `experiments` count beside
        its data. `power` is for `"power_prior"` alone, `robust_weight` for `"robust_mixture"`, `gate=False` (mix at any
        evidence) for `"evidence_weighted"`, `conservative_p_value` for `"conservative"`. `project_to` asks for the
        nearest distribution of a family beside the update, for example `"normal"`.
        """
        request = built(
            prior_update_pb2.UpdatePriorsRequest,
            "",
            request_id=id_or_new(request_id),
            client_id=self._id,
            session_id=session_id,
            update_strategy=enum_value(prior_update_pb2.UpdateStrategy, update_strategy, "update_strategy"),
            min_evidence_strength=min_evidence_strength,
            analysis_id=analysis_id,
            experiments=experiments,
            power=power,
            robust_weight=robust_weight,
            without_gate=not gate,
            conservative_p_value=conservative_p_value,
            project_to=enum_value(common_pb2.PriorFamily, project_to, "project_to"),
        )
        return self._on.unary(self._stubs.updates.UpdatePriors, request, timeout).update

    def get(self, update_id: str, *, timeout: float | None = None) -> prior_update_pb2.PriorUpdate:
        """A recommendation."""
        request = plain(prior_update_pb2.GetPriorUpdateRequest, client_id=self._id, update_id=update_id)
        return self._on.unary(self._stubs.updates.GetPriorUpdate, request, timeout).update

    def list(
        self, *, session_id: str = "", page_size: int = 0, timeout: float | None = None
    ) -> Iterator[prior_update_pb2.PriorUpdate]:
        """All recommendations, or those of a session, newest first, fetched page by page."""
        request = plain(
            prior_update_pb2.ListPriorUpdatesRequest, client_id=self._id, session_id=session_id, page_size=page_size
        )
        for page in self._on.pages(self._stubs.updates.ListPriorUpdates, request, timeout):
            yield from page.updates

    def accept(
        self,
        update: prior_update_pb2.PriorUpdate | str,
        *,
        decided_by: str,
        reason: str = "",
        etag: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> prior_update_pb2.PriorUpdate:
        """Accept a recommendation: the version at hand, or the current one when only its id is given."""
        seen = self.get(update, timeout=timeout) if isinstance(update, str) and etag is None else update
        update_id, version = requests.version_of(seen, etag)
        request = plain(
            prior_update_pb2.AcceptPriorUpdateRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            update_id=update_id,
            etag=version,
            decided_by=decided_by,
            reason=reason,
        )
        return self._on.unary(self._stubs.updates.AcceptPriorUpdate, request, timeout).update

    def reject(
        self,
        update: prior_update_pb2.PriorUpdate | str,
        *,
        decided_by: str,
        reason: str = "",
        etag: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> prior_update_pb2.PriorUpdate:
        """Reject a recommendation: the version at hand, or the current one when only its id is given."""
        seen = self.get(update, timeout=timeout) if isinstance(update, str) and etag is None else update
        update_id, version = requests.version_of(seen, etag)
        request = plain(
            prior_update_pb2.RejectPriorUpdateRequest,
            request_id=id_or_new(request_id),
            client_id=self._id,
            update_id=update_id,
            etag=version,
            decided_by=decided_by,
            reason=reason,
        )
        return self._on.unary(self._stubs.updates.RejectPriorUpdate, request, timeout).update


class Attribution(_Namespace):
    """What each channel brought."""

    def analyze(
        self,
        model_id: str,
        *,
        session_id: str = "",
        include_bayesian_validation: bool = False,
        start_sbc: bool = False,
        data_period_months: int | None = None,
        hold_out_months: int | None = None,
        business_impact: common_pb2.Money | None = None,
        exploratory: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> attribution_pb2.Attribution:
        """Attribute the outcome of the window to the channels and wait for the result, as `conflicts.analyze` does.

        With the validation, `start_sbc` starts the recommended calibration run if one is essential and none has passed;
        its id is `validation.started_run_id`.
        """
        request = built(
            attribution_pb2.AnalyzeAttributionRequest,
            "",
            request_id=id_or_new(request_id),
            client_id=self._id,
            model_id=model_id,
            session_id=session_id,
            include_bayesian_validation=include_bayesian_validation,
            start_sbc=start_sbc,
            data_period_months=data_period_months,
            hold_out_months=hold_out_months,
            business_impact=checked_money(business_impact, "business_impact"),
            exploratory=exploratory,
        )
        return self._on.unary(self._stubs.attribution.AnalyzeAttribution, request, timeout).attribution

    def get(self, attribution_id: str, *, timeout: float | None = None) -> attribution_pb2.Attribution:
        """An attribution."""
        request = plain(attribution_pb2.GetAttributionRequest, client_id=self._id, attribution_id=attribution_id)
        return self._on.unary(self._stubs.attribution.GetAttribution, request, timeout).attribution

    def list(
        self, *, model_id: str = "", page_size: int = 0, timeout: float | None = None
    ) -> Iterator[attribution_pb2.Attribution]:
        """All attributions, or those of a model, newest first, fetched page by page."""
        request = plain(
            attribution_pb2.ListAttributionsRequest, client_id=self._id, model_id=model_id, page_size=page_size
        )
        for page in self._on.pages(self._stubs.attribution.ListAttributions, request, timeout):
            yield from page.attributions


class System(_Namespace):
    """The service about itself."""

    def info(self, *, timeout: float | None = None) -> system_pb2.GetServerInfoResponse:
        """Versions and limits."""
        return self._on.unary(self._stubs.system.GetServerInfo, system_pb2.GetServerInfoRequest(), timeout)


class Client:
    """Client of the service for one client id; safe to share between threads.

    Every method takes `timeout` in seconds (None: the client's own), every method that changes something `request_id`
    (None: a new one). Requests are checked against the contract before they are sent; failures are LiftosBayesError.
    """

    def __init__(
        self, channel: grpc.Channel, *, client_id: str, token: str | None = None, timeout: float = 60.0
    ) -> None:
        """Use a channel of your own; `connect` is the usual way."""
        self.stubs = calls.stubs(Stubs, channel, calls.headers(token))
        self._connection = _Connection(channel, self.stubs, client_id, timeout)
        self.datasets = Datasets(self._connection)
        self.models = Models(self._connection)
        self.elicitation = Elicitation(self._connection)
        self.conflicts = Conflicts(self._connection)
        self.sbc = Sbc(self._connection)
        self.updates = Updates(self._connection)
        self.attribution = Attribution(self._connection)
        self.system = System(self._connection)

    @classmethod
    def connect(
        cls,
        target: str,
        *,
        client_id: str,
        token: str | None = None,
        tls: Tls | None = None,
        insecure: bool = False,
        timeout: float = 60.0,
    ) -> Client:
        """Connect to `host:port`, in plain text unless `tls` is given; the connection is made by the first call.

        A token is refused in plain text, except to this machine or with `insecure=True`.
        """
        calls.check_target(target, token=token, tls=tls, insecure=insecure)
        options = calls.channel_options(target, tls)
        if tls is None:
            channel = grpc.insecure_channel(target, options=options)
        else:
            channel = grpc.secure_channel(target, tls.credentials(), options=options)
        return cls(channel, client_id=client_id, token=token, timeout=timeout)

    @property
    def client_id(self) -> str:
        """The client on whose behalf calls are made."""
        return self._connection.client_id

    def close(self) -> None:
        """Close the connection; calls under way end with Cancelled, runs of the service go on."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
