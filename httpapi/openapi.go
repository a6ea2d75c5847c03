package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/swaggest/jsonschema-go"
	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"

	"alcove/engine"
	"alcove/tenancy"
)

// operation is what the route page does not say of a route: what it takes and gives.
// operations has one for each.
type operation struct {
	summary string
	in      any      // the JSON body it takes; nil: none
	form    bool     // it takes multipart/form-data, instead of in or beside it
	fields  any      // it takes these as application/x-www-form-urlencoded beside in
	files   []string // it takes a file of these media types as it is beside in
	maybe   bool     // the body may be left out
	match   bool     // it takes If-Match
	out     any      // what it answers; nil: not JSON, see media
	status  int      // of a success
	bare    bool     // out is the whole answer and not the data of an envelope
	media   string   // of an answer that is not JSON, or of an event stream
}

// openAPI describes the given routes (OpenAPI 3.1). It is made from the route page,
// from operations and from the types that are really decoded and encoded. A route
// without an operation, or the other way round, is a fault of the program.
func openAPI(routes []route, operations map[string]operation, version string) (*openapi31.Spec, error) {
	d := &describer{spec: &openapi31.Spec{Openapi: "3.1.0"}}
	d.spec.SetTitle("alcove")
	d.spec.SetVersion(version)
	d.spec.SetDescription("Knowledge bases of many tenants: documents in, grounded answers with citations out. " +
		"Unknown fields and query parameters are refused with 400. Every answer carries X-Request-ID.")
	d.spec.SetHTTPBearerTokenSecurity("token", "JWT", "a token of POST /api/v1/auth/token or of `alcove token`")
	d.spec.SetAPIKeySecurity("key", "X-API-Key", openapi.InHeader, "an API key, sk-…")
	if err := d.failure(); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, r := range routes {
		name := r.method + " " + r.pattern
		o, ok := operations[name]
		if !ok {
			return nil, fmt.Errorf("openapi: route %s has no operation", name)
		}
		seen[name] = true
		if err := d.add(r, o); err != nil {
			return nil, fmt.Errorf("openapi: %s: %w", name, err)
		}
	}
	for name := range operations {
		if !seen[name] {
			return nil, fmt.Errorf("openapi: operation %s has no route", name)
		}
	}
	return d.spec, nil
}

// describer makes one Spec.
type describer struct{ spec *openapi31.Spec }

// schemas are where definitions stand.
const schemas = "#/components/schemas/"

// answers says that a value is made by us: its fields are there unless they may be left out.
func (d *describer) schema(v any, answers bool) (map[string]any, error) {
	var r jsonschema.Reflector
	// The filter and the untyped parts of LightRAG's shapes have no one type.
	r.AddTypeMapping(engine.Filter{}, map[string]any{})
	options := []func(*jsonschema.ReflectContext){
		jsonschema.DefinitionsPrefix(schemas),
		jsonschema.CollectDefinitions(func(name string, s jsonschema.Schema) { d.define(name, s) }),
		jsonschema.InterceptDefName(func(t reflect.Type, name string) string {
			if answers {
				return name
			}
			return name + "Input"
		}),
	}
	options = append(options, jsonschema.InterceptSchema(func(p jsonschema.InterceptSchemaParams) (bool, error) {
		if p.Processed && p.Value.Kind() == reflect.Map {
			p.Schema.AddType(jsonschema.Null) // an entry of a list, too, may say nothing
		}
		return false, nil
	}))
	if answers {
		options = append(options, jsonschema.InterceptProp(func(p jsonschema.InterceptPropParams) error {
			if p.Processed && p.ParentSchema != nil && !mayBeMissing(p.Field) {
				p.ParentSchema.Required = append(p.ParentSchema.Required, p.Name)
			}
			return nil
		}))
	}
	s, err := r.Reflect(v, options...)
	if err != nil {
		return nil, err
	}
	return toMap(s)
}

func mayBeMissing(f reflect.StructField) bool {
	_, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
	return strings.Contains(rest, "omitempty") || strings.Contains(rest, "omitzero") || f.Anonymous
}

func (d *describer) define(name string, s jsonschema.Schema) {
	m, err := toMap(s)
	if err != nil {
		return // a schema of our own types is always an object
	}
	c := d.spec.ComponentsEns()
	if c.Schemas == nil {
		c.Schemas = map[string]map[string]any{}
	}
	c.Schemas[name] = m
}

func toMap(s jsonschema.Schema) (map[string]any, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(b, &m)
}

// failure describes every answer that is not a success.
func (d *describer) failure() error {
	s, err := d.schema(errorBody{}, true)
	if err != nil {
		return err
	}
	d.spec.ComponentsEns().WithResponsesItem("error", openapi31.ResponseOrReference{Response: &openapi31.Response{
		Description: "What was wrong, with a code for programs and a message for people.",
		Content:     map[string]openapi31.MediaType{"application/json": {Schema: s}},
	}})
	return nil
}

func (d *describer) add(r route, o operation) error {
	op := openapi31.Operation{Summary: &o.summary}
	op.WithTags(tagOf(r.pattern))
	op.WithID(operationID(r))
	if note := rightNote(r.right); note != "" {
		op.Description = &note
	}
	if r.right != public && r.right != byPassword {
		op.WithSecurity(map[string][]string{"token": {}}, map[string][]string{"key": {}})
	}
	for segment := range strings.SplitSeq(r.pattern, "/") {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			op.Parameters = append(op.Parameters, parameter(name, openapi31.ParameterInPath, pathParams[name], true))
		}
	}
	for _, name := range r.params {
		p, ok := queryParams[r.pattern+"?"+name]
		if !ok {
			p, ok = queryParams[name]
		}
		if !ok {
			return fmt.Errorf("query parameter %s is not described", name)
		}
		op.Parameters = append(op.Parameters, parameter(name, openapi31.ParameterInQuery, p, false))
	}
	if r.method == post && !r.right.readsOnly() {
		op.Parameters = append(op.Parameters, parameter(onceHeader, openapi31.ParameterInHeader, paramDoc{"string", "makes a call that is sent again have its effect once"}, false))
	}
	if o.match {
		op.Parameters = append(op.Parameters, parameter(matchHeader, openapi31.ParameterInHeader, paramDoc{"string", "only if it still has one of these ETags; 412 otherwise"}, false))
	}
	body := map[string]openapi31.MediaType{}
	if o.in != nil {
		s, err := d.schema(o.in, false)
		if err != nil {
			return err
		}
		body["application/json"] = openapi31.MediaType{Schema: s}
	}
	if o.form {
		body["multipart/form-data"] = openapi31.MediaType{Schema: uploadSchema}
	}
	if o.fields != nil {
		s, err := d.schema(o.fields, false)
		if err != nil {
			return err
		}
		body["application/x-www-form-urlencoded"] = openapi31.MediaType{Schema: s}
	}
	for _, media := range o.files {
		body[media] = openapi31.MediaType{}
	}
	if len(body) > 0 {
		needed := !o.maybe
		op.RequestBody = &openapi31.RequestBodyOrReference{RequestBody: &openapi31.RequestBody{Content: body, Required: &needed}}
	}
	success := openapi31.Response{Description: http.StatusText(o.status)}
	if err := d.success(&success, o); err != nil {
		return err
	}
	op.ResponsesEns().MapOfResponseOrReferenceValues = map[string]openapi31.ResponseOrReference{strconv.Itoa(o.status): {Response: &success}}
	op.Responses.Default = &openapi31.ResponseOrReference{Reference: &openapi31.Reference{Ref: "#/components/responses/error"}}
	return d.spec.AddOperation(r.method, bracePath(r.pattern), op)
}

// success describes what a route answers when it did what was asked.
func (d *describer) success(r *openapi31.Response, o operation) error {
	if o.out == nil {
		r.Content = map[string]openapi31.MediaType{o.media: {}}
		return nil
	}
	s, err := d.schema(o.out, true)
	if err != nil {
		return err
	}
	if !o.bare {
		s = map[string]any{"type": "object", "required": []string{"status", "data"}, "properties": map[string]any{
			"status": map[string]any{"const": "success"}, "data": s,
		}}
	}
	r.Content = map[string]openapi31.MediaType{"application/json": {Schema: s}}
	if o.media != "" {
		r.Content = map[string]openapi31.MediaType{o.media: {Schema: s}}
	}
	return nil
}

// paramDoc is the type of a parameter and what it is.
type paramDoc struct{ kind, about string }

func parameter(name string, in openapi31.ParameterIn, p paramDoc, required bool) openapi31.ParameterOrReference {
	out := openapi31.Parameter{Name: name, In: in, Schema: map[string]any{"type": p.kind}}
	out.WithDescription(p.about)
	if required {
		out.WithRequired(true)
	}
	return out.ToParameterOrRef()
}

// bracePath is a pattern as OpenAPI writes it: /a/{b} for /a/:b.
func bracePath(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}

// operationID names an operation for generated clients: the method and the fixed
// words of the path.
func operationID(r route) string {
	id := strings.ToLower(r.method)
	for segment := range strings.SplitSeq(strings.TrimPrefix(r.pattern, v1), "/") {
		name, isParam := strings.CutPrefix(segment, ":")
		for word := range strings.SplitSeq(name, "-") {
			for part := range strings.SplitSeq(word, "_") {
				if part == "" {
					continue
				}
				if isParam {
					part = "by" + strings.ToUpper(part[:1]) + part[1:]
				}
				id += strings.ToUpper(part[:1]) + part[1:]
			}
		}
	}
	return id
}

// tagOf groups routes by the noun of their page of handlers.
func tagOf(pattern string) string {
	switch rest, inKB := strings.CutPrefix(pattern, pathKB+"/"); {
	case inKB:
		noun, _, _ := strings.Cut(rest, "/")
		switch noun {
		case "tracks", "status_counts", "jobs":
			return "documents"
		case "reembed":
			return "knowledge bases"
		}
		return noun
	case strings.HasPrefix(pattern, pathKBs):
		return "knowledge bases"
	case strings.HasPrefix(pattern, v1+"/"):
		noun, _, _ := strings.Cut(strings.TrimPrefix(pattern, v1+"/"), "/")
		return noun
	}
	return "server"
}

// rightNote says what a caller needs.
func rightNote(p right) string {
	switch p {
	case public:
		return ""
	case byPassword:
		return "For whoever knows a name and its password."
	case anyCaller:
		return "For any valid credential; it is shown what is its own."
	case right(tenancy.PermSystemAdmin):
		return "For system admins."
	}
	return "Needs `" + string(p) + "`."
}

// readsOnly says whether a POST under this right changes nothing.
func (p right) readsOnly() bool {
	switch tenancy.Permission(p) {
	case tenancy.PermQueryRun, tenancy.PermDocumentRead, tenancy.PermKBAccess:
		return true
	}
	return p == public || p == byPassword
}

// uploadSchema is the form of an upload.
var uploadSchema = map[string]any{"type": "object", "required": []string{"file"}, "properties": map[string]any{
	"file":          map[string]any{"type": "array", "items": map[string]any{"type": "string", "contentMediaType": "application/octet-stream"}},
	"metadata":      map[string]any{"type": "string", "contentMediaType": "application/json", "description": "metadata of every file of the call"},
	"id":            map[string]any{"type": "string", "description": "id of the only file"},
	"file_source":   map[string]any{"type": "string", "description": "path of the only file, for citations; none: its name"},
	"keep_original": map[string]any{"type": "string", "enum": []string{"true", "false"}, "description": "keep the files beside the texts made of them; KEEP_ORIGINALS otherwise"},
	"main_text":     map[string]any{"type": "string", "enum": []string{"true", "false"}, "description": "of web pages read the main text alone"},
}}
