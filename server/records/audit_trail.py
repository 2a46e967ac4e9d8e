"""The trail of decisions: who did what to which resource, and why."""

from __future__ import annotations

from typing import Any

from persistence.tables import AuditEntry
from server.contract.wire import method_of


def audited(request: Any, actor: str, resource: tuple[str, str], **detail: Any) -> AuditEntry:
    """The entry of a request that states its reason; `resource`: type and identifier of what it decided on."""
    resource_type, resource_id = resource
    return AuditEntry(
        client_id=request.client_id,
        actor=actor,
        action=method_of(request),
        resource_type=resource_type,
        resource_id=resource_id,
        detail={**detail, "reason": request.reason},
    )
