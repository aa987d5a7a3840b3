// /openapi.json, readable: every operation with its parameters, an example call and the shape of its answer.

import { $, h } from "./dom.js";

const api = await (await fetch("/openapi.json")).json();
const tags = new Map();
for (const [path, operations] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(operations)) {
    const [tag = "other"] = operation.tags ?? [];
    tags.set(tag, [...(tags.get(tag) ?? []), section(method.toUpperCase(), path, operation)]);
  }
}
$("docs").replaceChildren(h("h1", {}, `${api.info.title} ${api.info.version}`), h("p", {}, api.info.description),
  ...[...tags].flatMap(([tag, sections]) => [h("h2", {}, tag), ...sections]));

function section(method, path, operation) {
  const parameters = operation.parameters ?? [];
  const upload = operation.requestBody?.content["multipart/form-data"];
  const rows = [...parameters.map(({ name, in: where, required, description, schema }) => row(name, where, required, description ?? schema.description, schema)),
    ...Object.entries(upload ? resolve(upload.schema).properties : {}).map(([name, schema]) => row(name, "form", true, schema.description, schema))];
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  return h("section", { class: "operation", "aria-label": operation.summary },
    h("h3", {}, operation.summary), h("code", { class: "route" }, h("b", {}, method), " ", path), h("p", {}, text(operation.description)),
    rows.length > 0 && h("table", {}, h("thead", {}, h("tr", {}, ["Parameter", "Type", "What"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows)),
    h("pre", { tabindex: "0" }, call(method, path, parameters, upload)),
    answer && h("details", {}, h("summary", {}, "Answer"), h("pre", { tabindex: "0" }, JSON.stringify(example(answer), null, 2))));
}

function row(name, where, required, description, schema) {
  const initial = schema.default === undefined || schema.default === null || String(schema.default) === "" ? "" : ` Default: ${JSON.stringify(schema.default)}.`;
  return h("tr", {}, h("td", {}, h("code", {}, name)), h("td", {}, [type(schema), where, required && "required"].filter(Boolean).join(", ")),
    h("td", {}, text(`${description ?? ""}${initial}`)));
}

function call(method, path, parameters, upload) {
  const shown = parameters.filter(({ in: where, name }) => where === "query" && ["q", "not", "k"].includes(name) && !upload)
    .map(({ name, schema }) => `${name}=${encodeURIComponent([example(schema)].flat()[0])}`);
  const filled = path.replaceAll("{name}", "pictograms").replaceAll("{id}", "ID");
  const url = `${location.origin}${filled}${shown.length ? `?${shown.join("&")}` : ""}`;
  return upload ? `curl -F picture=@photo.jpg '${url}'` : `curl '${url}'`;
}

/** Text in which what stands between backticks is code. */
function text(said) {
  return said.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
}

function resolve(schema) {
  return schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;
}

function type(schema) {
  const one = resolve(schema);
  if (one.anyOf) return one.anyOf.map(type).filter((name) => name !== "null").join(" or ");
  if (one.enum) return one.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (one.type === "array") return `list of ${type(one.items)}`;
  return one.contentMediaType || one.format === "binary" ? "file" : one.type ?? "value";
}

function example(schema, depth = 0) {
  const one = resolve(schema);
  if (one.examples?.length) return one.examples[0];
  if (one.default !== undefined && one.default !== null) return one.default;
  if (one.anyOf) return example(one.anyOf[0], depth);
  if (one.enum) return one.enum[0];
  if (one.properties) return Object.fromEntries(Object.entries(one.properties).map(([name, part]) => [name, example(part, depth + 1)]));
  if (one.additionalProperties && depth < 6) return { name: example(one.additionalProperties, depth + 1) };
  if (one.type === "array") return [example(one.items, depth + 1)];
  return { string: "…", integer: 0, number: 0.5, boolean: true }[one.type] ?? null;
}
