//! Writes a view again with the encoders.

use twinring_cql::request::{self, Request};
use twinring_cql::response::{
    self, ColumnDef, Metadata, MetadataHead, Prepared, PreparedDef, Response, ResultBody, Rows,
};
use twinring_cql::{Version, Writer};

/// The message of a request written again; `None` if it cannot be said.
pub fn request(view: &Request<'_>, version: Version) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    match view {
        Request::Options(_) => {}
        Request::Startup(startup) => request::startup::encode(&mut w, startup.options),
        Request::Query(query) => {
            request::query::encode_as(&mut w, version, query.text, &query.params);
        }
        Request::Prepare(prepare) => request::prepare::encode_as(&mut w, version, prepare),
        Request::Execute(execute) => request::execute::encode_as(&mut w, version, execute),
        Request::Register(register) => request::register::encode(&mut w, register.events),
        Request::AuthResponse(auth) => request::auth_response::encode(&mut w, auth.token),
        Request::Batch(batch) => {
            let (entries, tail) = (batch.entries(), batch.into());
            request::batch::encode_as(&mut w, version, batch.kind, entries, &tail);
        }
    }
    w.finish().ok()?;
    Some(out)
}

/// The message of a response written again; `None` if columns are left out or a cell is malformed.
pub fn response(view: &Response<'_>, version: Version) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    match view {
        Response::Ready => {}
        Response::Error(error) => error.encode(&mut w),
        Response::Authenticate(auth) => response::authenticate::encode(&mut w, auth.authenticator),
        Response::Supported(supported) => {
            response::supported::encode(&mut w, supported.options);
        }
        Response::Event(event) => event.encode(&mut w),
        Response::AuthChallenge(auth) | Response::AuthSuccess(auth) => {
            response::auth::encode(&mut w, auth.token);
        }
        Response::Result(result) => match result {
            ResultBody::Void => response::result::encode_void(&mut w),
            ResultBody::SetKeyspace(name) => response::result::encode_set_keyspace(&mut w, name),
            ResultBody::SchemaChange(change) => {
                response::result::encode_schema_change(&mut w, change);
            }
            ResultBody::Rows(rows) => encode_rows(&mut w, rows)?,
            ResultBody::Prepared(prepared) => encode_prepared(&mut w, prepared, version)?,
        },
    }
    w.finish().ok()?;
    Some(out)
}

fn defs<'a>(metadata: &Metadata<'a>) -> Vec<ColumnDef<'a>> {
    let def = |column: response::ColumnSpec<'a>| ColumnDef {
        keyspace: column.keyspace,
        table: column.table,
        name: column.name,
        column_type: column.column_type.to_type().expect("the type was checked"),
    };
    metadata.columns().map(def).collect()
}

fn encode_rows(w: &mut Writer<'_>, rows: &Rows<'_>) -> Option<()> {
    // Left-out columns cannot be written again from the view.
    if !rows.metadata.has_columns() {
        return None;
    }
    rows.check().ok()?;
    let columns = defs(&rows.metadata);
    let paging_state = rows.metadata.paging_state;
    let head = MetadataHead {
        paging_state,
        new_metadata_id: rows.metadata.new_metadata_id,
        ..MetadataHead::default()
    };
    let mut encoder = response::rows::encode(w, &head, &columns);
    for cell in rows.cells() {
        encoder.cell(cell.ok()?.bytes);
    }
    encoder.finish();
    Some(())
}

fn encode_prepared(w: &mut Writer<'_>, prepared: &Prepared<'_>, version: Version) -> Option<()> {
    let plain = |metadata: &Metadata<'_>| {
        let counted = metadata.has_columns() || metadata.column_count == 0;
        counted && metadata.paging_state.is_none() && metadata.new_metadata_id.is_none()
    };
    if !plain(&prepared.bind) || !plain(&prepared.result) {
        return None;
    }
    let (bind, result) = (defs(&prepared.bind), defs(&prepared.result));
    let pk_indices: Vec<u16> = prepared.bind.pk_indices().collect();
    let def = PreparedDef {
        id: prepared.id,
        result_metadata_id: prepared.result_metadata_id.unwrap_or_default(),
        pk_indices: &pk_indices,
        bind: &bind,
        result: &result,
    };
    response::prepared::encode(w, version, &def);
    Some(())
}
