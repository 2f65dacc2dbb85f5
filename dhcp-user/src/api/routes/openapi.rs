//! The description of the API, for programs that make clients of it.

use axum::Json;

/// This description.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "description",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn description() -> Json<utoipa::openapi::OpenApi> {
    Json(crate::api::description())
}
