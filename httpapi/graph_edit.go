package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"alcove/engine"
)

// done is LightRAG's answer to a change of the graph.
type done struct {
	Status  string `json:"status"` // "success"
	Message string `json:"message"`
	Data    any    `json:"data"`
}

// entityData and relationData show an entity and a relation with LightRAG's names.
func entityData(n *engine.GraphNode) map[string]any {
	n.Properties["entity_name"] = n.ID
	return n.Properties
}

func relationData(e *engine.GraphEdge) map[string]any {
	e.Properties["src_id"], e.Properties["tgt_id"] = e.Source, e.Target
	return e.Properties
}

// matchHeader holds a change to what its caller has looked at (RFC 9110, 13.1.1).
const matchHeader = "If-Match"

// ifMatch are the tags of If-Match; none of them is "*", which asks for nothing that
// a change does not ask for anyway. A weak tag matches nothing, as RFC 9110 has it.
func ifMatch(r *http.Request) (tags []string) {
	for _, line := range r.Header.Values(matchHeader) {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" {
				return nil
			}
			tags = append(tags, strings.Trim(tag, `"`))
		}
	}
	return tags
}

// setTag puts what an If-Match may say next time into ETag.
func setTag(w http.ResponseWriter, tag string) { w.Header().Set("ETag", `"`+tag+`"`) }

// handTag is the tag of an entity or a relation.
func handTag(properties map[string]any) string {
	tag, ok := properties[engine.HandTag].(string)
	if !ok {
		tag = engine.NoHandTag
	}
	return tag
}

// entityInput is LightRAG's body of /graph/entity/create.
type entityInput struct {
	Name string            `json:"entity_name"`
	Data engine.EntityEdit `json:"entity_data"`
}

func (s *Server) createEntity(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in entityInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	n, err := kb.CreateEntity(r.Context(), in.Name, in.Data)
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, done{"success", fmt.Sprintf("Entity '%s' created successfully", n.ID), entityData(n)})
}

// entityUpdate is LightRAG's body of /graph/entity/edit, with reset beside it.
type entityUpdate struct {
	Name        string            `json:"entity_name"`
	Data        engine.EntityEdit `json:"updated_data"`
	Reset       bool              `json:"reset"`
	AllowRename bool              `json:"allow_rename"`
	AllowMerge  bool              `json:"allow_merge"`
}

func (s *Server) editEntity(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in entityUpdate
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	n, err := kb.EditEntity(r.Context(), in.Name, in.Data, engine.EditOptions{
		Reset: in.Reset, AllowRename: in.AllowRename, AllowMerge: in.AllowMerge, IfTag: ifMatch(r),
	})
	if err != nil {
		return err
	}
	setTag(w, handTag(n.Properties))
	return bare(w, done{"success", "Entity updated successfully", entityData(n)})
}

func (s *Server) deleteEntity(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	name, err := textParam(r, "name")
	if err != nil {
		return err
	}
	if err := kb.DeleteEntity(r.Context(), name, ifMatch(r)); err != nil {
		return err
	}
	return bare(w, done{"success", fmt.Sprintf("Entity '%s' deleted successfully", name), map[string]any{"entity_name": name}})
}

// relationInput is LightRAG's body of /graph/relation/create.
type relationInput struct {
	Source string              `json:"source_entity"`
	Target string              `json:"target_entity"`
	Data   engine.RelationEdit `json:"relation_data"`
}

func (s *Server) createRelation(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in relationInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	e, err := kb.CreateRelation(r.Context(), in.Source, in.Target, in.Data)
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, done{"success", fmt.Sprintf("Relation from '%s' to '%s' created successfully", e.Source, e.Target), relationData(e)})
}

// relationUpdate is LightRAG's body of /graph/relation/edit, with reset beside it.
type relationUpdate struct {
	Source string              `json:"source_id"`
	Target string              `json:"target_id"`
	Data   engine.RelationEdit `json:"updated_data"`
	Reset  bool                `json:"reset"`
}

func (s *Server) editRelation(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in relationUpdate
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	e, err := kb.EditRelation(r.Context(), in.Source, in.Target, in.Data, engine.EditOptions{Reset: in.Reset, IfTag: ifMatch(r)})
	if err != nil {
		return err
	}
	setTag(w, handTag(e.Properties))
	return bare(w, done{"success", "Relation updated successfully", relationData(e)})
}

func (s *Server) deleteRelation(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	source, err := textParam(r, "source")
	if err != nil {
		return err
	}
	target, err := textParam(r, "target")
	if err != nil {
		return err
	}
	if err := kb.DeleteRelation(r.Context(), source, target, ifMatch(r)); err != nil {
		return err
	}
	return bare(w, done{"success", fmt.Sprintf("Relation from '%s' to '%s' deleted successfully", source, target), map[string]any{"src_id": source, "tgt_id": target}})
}

func (s *Server) mergeEntities(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in engine.MergeRequest
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	m, err := kb.Merge(r.Context(), in)
	if err != nil {
		return err
	}
	return bare(w, done{"success", fmt.Sprintf("Merged %d entities into '%s'", len(m.Changed), m.Into), m})
}

func (s *Server) unmergeEntities(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in engine.UnmergeRequest
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	u, err := kb.Unmerge(r.Context(), in)
	if err != nil {
		return err
	}
	return bare(w, done{"success", fmt.Sprintf("%d names stand for themselves again", len(u.Entities)), u})
}

// duplicates suggests entities that may be one.
func (s *Server) duplicates(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	d, err := kb.Duplicates(r.Context(), limit)
	if err != nil {
		return err
	}
	return bare(w, d)
}

func (s *Server) aliases(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	page, err := kb.Aliases(r.Context(), r.URL.Query().Get("cursor"), limit)
	if err != nil {
		return err
	}
	return success(w, page)
}
