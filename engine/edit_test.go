package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// handful is the base of letters with its environment.
func handful(t *testing.T) (*enginetest.Env, *engine.KB) {
	t.Helper()
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	v.Add("k",
		"a", "entity|Ada Lovelace|person|She wrote notes.\nentity|Babbage|person|He built engines.\nrelation|Ada Lovelace|Babbage|letters|They wrote letters.|2\n",
		"b", "entity|Augusta King|person|A countess.\nrelation|Augusta King|Babbage|visits|She saw the engine.|1\n",
		"c", "entity|Turin|place|A town.\nrelation|Babbage|Turin|travel|He went there.|1\n")
	v.Wait()
	return v, v.KB("k")
}

func entityOf(t *testing.T, kb *engine.KB, name string) *engine.GraphNode {
	t.Helper()
	n, err := kb.Entity(ctx, name, nil)
	require.NoError(t, err)
	return n
}

func gone(t *testing.T, kb *engine.KB, name string) {
	t.Helper()
	_, err := kb.Entity(ctx, name, nil)
	require.ErrorIs(t, err, engine.ErrNotFound)
}

func labelsOf(t *testing.T, kb *engine.KB) []string {
	t.Helper()
	l, err := kb.Labels(ctx, "", 0, nil)
	require.NoError(t, err)
	return l
}

// A merge makes two one under the name that was asked for; taking it back leaves
// no trace in the records or in any answer.
func TestMerge_AndBack(t *testing.T) {
	for name, o := range embeddings() {
		t.Run(name, func(t *testing.T) {
			v := enginetest.New(t, o)
			r := rand.New(rand.NewPCG(3, 3))
			for i := range 8 {
				v.Add("k", fmt.Sprint("d", i), randomText(r))
			}
			v.Wait()
			kb := v.KB("k")
			dump, seen := v.Dump("k"), observe(t, v, "k")
			m, err := kb.Merge(ctx, engine.MergeRequest{Change: []string{"Charles Babbage", "turin", "Babbage"}, Into: "babbage"})
			require.NoError(t, err)
			require.Equal(t, []string{"Charles Babbage", "turin"}, m.Changed, "what is one already is skipped")
			v.Wait()
			merged := observe(t, v, "k")
			require.NotEqual(t, dump, v.Dump("k"))
			require.NotEqual(t, seen, merged)
			require.NotContains(t, strings.ToLower(strings.Join(labelsOf(t, kb), " ")), "turin")
			require.Equal(t, entityOf(t, kb, "Charles Babbage"), entityOf(t, kb, "TURIN"))
			v.Restart()
			v.Wait()
			require.Equal(t, merged, observe(t, v, "k"), "read afresh it is the same")
			u, err := v.KB("k").Unmerge(ctx, engine.UnmergeRequest{MergeID: m.MergeID})
			require.NoError(t, err)
			require.Equal(t, []string{"Charles Babbage", "turin"}, u.Entities)
			v.Wait()
			require.Equal(t, dump, v.Dump("k"))
			require.Equal(t, seen, observe(t, v, "k"))
			v.Restart()
			v.Wait()
			require.Equal(t, seen, observe(t, v, "k"))
		})
	}
}

func TestMerge_Shows(t *testing.T) {
	v, kb := handful(t)
	m, err := kb.Merge(ctx, engine.MergeRequest{Change: []string{"Augusta King"}, Into: "ADA Lovelace"})
	require.NoError(t, err)
	n := entityOf(t, kb, "augusta king")
	require.Equal(t, "Ada Lovelace", n.ID, "spelled as documents spell it")
	require.Equal(t, 2, n.Properties["mentions"])
	require.Equal(t, []map[string]string{{"name": "Augusta King", "merge_id": m.MergeID}}, n.Properties["aliases"])
	require.ElementsMatch(t, []string{"She wrote notes.", "A countess."}, strings.Split(n.Properties["description"].(string), "<SEP>"))
	g, err := kb.Graph(ctx, engine.GraphRequest{Label: "Augusta King", MaxDepth: 1})
	require.NoError(t, err)
	require.Len(t, g.Edges, 1)
	require.Equal(t, 3.0, g.Edges[0].Properties["weight"])

	// A question that knows her by the other name finds what is said under both.
	d, err := kb.QueryData(ctx, engine.Query{Query: "Who was Augusta King?", Mode: engine.ModeLocal})
	require.NoError(t, err)
	require.Equal(t, "Ada Lovelace", d.Data.Entities[0].EntityName)
	require.Contains(t, d.Data.Entities[0].SourceID, "a-chunk-000")

	chunks := func(query string, mode engine.Mode) (out []string) {
		t.Helper()
		d, err := kb.QueryData(ctx, engine.Query{Query: query, Mode: mode})
		require.NoError(t, err)
		for _, c := range d.Data.Chunks {
			out = append(out, c.ChunkID)
		}
		return out
	}
	require.Contains(t, chunks("What is known of Augusta King?", engine.ModePPR), "a-chunk-000")
	require.Contains(t, chunks("What is known of Ada Lovelace?", engine.ModePPR), "b-chunk-000")
	_, err = kb.EditEntity(ctx, "Turin", engine.EntityEdit{Name: ptr("Augusta Taurinorum")}, engine.EditOptions{AllowRename: true})
	require.NoError(t, err)
	require.Equal(t, "c-chunk-000", chunks("Who went to Augusta Taurinorum?", engine.ModePPR)[0], "no passage has the name")
	_, err = kb.Unmerge(ctx, engine.UnmergeRequest{Entity: "Turin"})
	require.NoError(t, err)

	// Chains: what an alias stands for may come to stand for another.
	_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"Augusta King", "Babbage"}, Into: "The Correspondents"})
	require.NoError(t, err)
	require.Equal(t, []string{"The Correspondents", "Turin"}, labelsOf(t, kb), "a name that nothing is written under is shown as it was given")
	require.Equal(t, entityOf(t, kb, "Babbage"), entityOf(t, kb, "Augusta King"))
	for _, back := range []string{"The Correspondents", "Ada Lovelace"} { // what it is, and what it was by itself
		_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"The Correspondents"}, Into: back})
		var f *engine.FieldError
		require.ErrorAs(t, err, &f, "no cycle")
		require.Equal(t, "entities_to_change", f.Field)
	}
	u, err := kb.Unmerge(ctx, engine.UnmergeRequest{Entity: "The Correspondents"})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"Ada Lovelace", "Babbage"}, fold(u.Entities), "the chain below stays")
	require.Equal(t, []string{"Ada Lovelace", "Babbage", "Turin"}, labelsOf(t, kb))
	_, err = kb.Unmerge(ctx, engine.UnmergeRequest{Entity: "augusta king"})
	require.NoError(t, err)
	require.Equal(t, []string{"Ada Lovelace", "Augusta King", "Babbage", "Turin"}, labelsOf(t, kb))
	v.Check()
}

// fold writes identities as the documents of the tests do.
func fold(names []string) (out []string) {
	for _, n := range names {
		out = append(out, map[string]string{"ada lovelace": "Ada Lovelace", "babbage": "Babbage"}[engine.EntityID(n)])
	}
	return out
}

// Only documents that name what changed are read again.
func TestMerge_ReadsWhatItTouches(t *testing.T) {
	v, kb := handful(t)
	labelsOf(t, kb)
	space := v.Space(enginetest.Tenant, "k", tenancy.PermKBAccess)
	before, err := engine.AppliedDocuments(v.Engine, space)
	require.NoError(t, err)
	_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"Augusta King"}, Into: "Babbage"})
	require.NoError(t, err)
	labelsOf(t, kb)
	after, err := engine.AppliedDocuments(v.Engine, space)
	require.NoError(t, err)
	require.Equal(t, before+1, after)
}

// What people write wins over documents, and stays when they change.
func TestEdit_Entity(t *testing.T) {
	v, kb := handful(t)
	n, err := kb.EditEntity(ctx, "babbage", engine.EntityEdit{Type: ptr("mathematician"), Description: ptr("Lucasian professor.")}, engine.EditOptions{})
	require.NoError(t, err)
	check := func() {
		t.Helper()
		n := entityOf(t, kb, "Babbage")
		require.Equal(t, []any{"mathematician", "Lucasian professor.", "manual"}, []any{n.Properties["entity_type"], n.Properties["description"], n.Properties["source"]})
	}
	require.Equal(t, n, entityOf(t, kb, "Babbage"))
	check()
	_, err = kb.Update(ctx, "a", engine.DocumentInput{Content: []byte("entity|Babbage|person|He died.\n")})
	require.NoError(t, err)
	v.Wait()
	check()
	v.Restart()
	kb = v.KB("k")
	check()
	d, err := kb.QueryData(ctx, engine.Query{Query: "Who is Babbage?", Mode: engine.ModeLocal})
	require.NoError(t, err)
	require.Equal(t, "Lucasian professor.", d.Data.Entities[0].Description)
	_, err = kb.EditEntity(ctx, "babbage", engine.EntityEdit{Description: ptr("")}, engine.EditOptions{})
	require.NoError(t, err)
	n = entityOf(t, kb, "Babbage")
	require.Equal(t, []any{"mathematician", ""}, []any{n.Properties["entity_type"], n.Properties["description"]}, "the other field stays")
	require.Nil(t, entityOf(t, kb, "Turin").Properties["source"])
	_, err = kb.EditEntity(ctx, "babbage", engine.EntityEdit{Description: ptr("Again.")}, engine.EditOptions{Reset: true})
	require.NoError(t, err)
	n = entityOf(t, kb, "Babbage")
	require.Equal(t, []any{"person", "Again."}, []any{n.Properties["entity_type"], n.Properties["description"]})
	_, err = kb.EditEntity(ctx, "babbage", engine.EntityEdit{}, engine.EditOptions{Reset: true})
	require.NoError(t, err)
	require.Nil(t, entityOf(t, kb, "Babbage").Properties["source"], "it follows the documents again")
	require.NotContains(t, v.Dump("k"), "edit ")
}

func TestEdit_DeleteAndCreate(t *testing.T) {
	v, kb := handful(t)
	require.NoError(t, kb.DeleteEntity(ctx, "babbage", nil))
	gone(t, kb, "Babbage")
	require.Equal(t, []string{"Ada Lovelace", "Augusta King", "Turin"}, labelsOf(t, kb))
	g, err := kb.Graph(ctx, engine.GraphRequest{})
	require.NoError(t, err)
	require.Empty(t, g.Edges)
	require.Equal(t, "", entityOf(t, kb, "Turin").Properties["description"].(string)[len("A town."):], "nothing of him")
	d, err := kb.QueryData(ctx, engine.Query{Query: "What did Babbage do in Turin?"})
	require.NoError(t, err)
	for _, e := range d.Data.Entities {
		require.NotEqual(t, "Babbage", e.EntityName)
	}
	require.Empty(t, d.Data.Relationships)
	v.Add("k", "late", "entity|Babbage|person|He is back.\nrelation|Babbage|Late|k|d|1\n")
	v.Wait()
	gone(t, kb, "Babbage")
	v.Restart()
	kb = v.KB("k")
	gone(t, kb, "Babbage")
	require.ErrorIs(t, kb.DeleteEntity(ctx, "Babbage", nil), engine.ErrNotFound)
	_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"Turin"}, Into: "Babbage"})
	require.ErrorContains(t, err, "was deleted")

	n, err := kb.CreateEntity(ctx, "Babbage", engine.EntityEdit{Description: ptr("By hand.")})
	require.NoError(t, err)
	require.Equal(t, []any{"By hand.", "person", 4, 4}, []any{n.Properties["description"], n.Properties["entity_type"], n.Properties["mentions"], n.Properties["degree"]})
	_, err = kb.CreateEntity(ctx, "BABBAGE", engine.EntityEdit{})
	require.ErrorIs(t, err, engine.ErrExists)
}

// What is made by hand is in the graph without any document.
func TestEdit_CreateFromNothing(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	kb := v.KB("k")
	for _, name := range []string{"Ada", "Note G"} {
		_, err := kb.CreateEntity(ctx, name, engine.EntityEdit{Type: ptr("thing"), Description: ptr(name + " by hand.")})
		require.NoError(t, err)
	}
	e, err := kb.CreateRelation(ctx, "Note G", "Ada", engine.RelationEdit{Keywords: ptr("written by"), Description: ptr("She wrote it."), Weight: ptr(2.5)})
	require.NoError(t, err)
	require.Equal(t, []any{"Note G", "Ada", 2.5, "written by", "manual"}, []any{e.Source, e.Target, e.Properties["weight"], e.Properties["keywords"], e.Properties["source"]})
	check := func() {
		t.Helper()
		require.Equal(t, []string{"Ada", "Note G"}, labelsOf(t, kb))
		p, err := kb.Path(ctx, "ada", "note g", nil)
		require.NoError(t, err)
		require.True(t, p.Found)
		require.Equal(t, "manual_creation", entityOf(t, kb, "ada").Properties["source_id"])
		d, err := kb.QueryData(ctx, engine.Query{Query: "What is Note G?", Mode: engine.ModeLocal})
		require.NoError(t, err)
		require.Equal(t, "Note G by hand.", d.Data.Entities[0].Description)
		require.Equal(t, "She wrote it.", d.Data.Relationships[0].Description)
		d, err = kb.QueryData(ctx, engine.Query{Query: "What has Ada written?", Mode: engine.ModeGlobal})
		require.NoError(t, err)
		require.Equal(t, "She wrote it.", d.Data.Relationships[0].Description)
		a, err := kb.Query(ctx, engine.Query{Query: "What is Note G?", Mode: engine.ModeLocal, OnlyNeedContext: true})
		require.NoError(t, err)
		require.Contains(t, a.Response, "Note G by hand.")
	}
	check()
	v.Restart()
	kb = v.KB("k")
	check()
	v.Add("k", "a", "relation|Ada|Note G|wrote|She did.|1\nentity|Ada|person|Someone.\n")
	v.Wait()
	g, err := kb.Graph(ctx, engine.GraphRequest{Label: "Ada"})
	require.NoError(t, err)
	require.Equal(t, []any{"Note G", 2.5, "She wrote it."}, []any{g.Edges[0].Source, g.Edges[0].Properties["weight"], g.Edges[0].Properties["description"]})
	_, err = kb.Delete(ctx, []string{"a"}, false)
	require.NoError(t, err)
	check()
	require.NoError(t, kb.DeleteRelation(ctx, "ada", "note g", nil))
	require.NoError(t, kb.DeleteEntity(ctx, "ada", nil))
	require.NoError(t, kb.DeleteEntity(ctx, "note g", nil))
	require.Empty(t, labelsOf(t, kb))
}

func TestEdit_Relation(t *testing.T) {
	v, kb := handful(t)
	edge := func() engine.GraphEdge {
		t.Helper()
		g, err := kb.Graph(ctx, engine.GraphRequest{Label: "Ada Lovelace", MaxDepth: 1})
		require.NoError(t, err)
		require.Len(t, g.Edges, 1)
		return g.Edges[0]
	}
	e, err := kb.EditRelation(ctx, "Babbage", "Ada Lovelace", engine.RelationEdit{Weight: ptr(9.0), Keywords: ptr("friends")}, engine.EditOptions{})
	require.NoError(t, err)
	require.Equal(t, edge(), *e)
	require.Equal(t, []any{"Ada Lovelace", 9.0, "friends", "They wrote letters."}, []any{e.Source, e.Properties["weight"], e.Properties["keywords"], e.Properties["description"]}, "it points as it did")
	require.NoError(t, kb.DeleteRelation(ctx, "ada lovelace", "babbage", nil))
	g, err := kb.Graph(ctx, engine.GraphRequest{Label: "Ada Lovelace"})
	require.NoError(t, err)
	require.Len(t, g.Nodes, 1)
	v.Restart()
	kb = v.KB("k")
	_, err = kb.EditRelation(ctx, "Babbage", "Ada Lovelace", engine.RelationEdit{Weight: ptr(1.0)}, engine.EditOptions{})
	require.ErrorIs(t, err, engine.ErrNotFound)
	_, err = kb.CreateRelation(ctx, "Babbage", "Ada Lovelace", engine.RelationEdit{})
	require.NoError(t, err)
	require.Equal(t, []any{"Babbage", 2.0, "They wrote letters."}, []any{edge().Source, edge().Properties["weight"], edge().Properties["description"]}, "it comes back and points as it was made")
	_, err = kb.EditRelation(ctx, "Ada Lovelace", "Babbage", engine.RelationEdit{Description: ptr("d")}, engine.EditOptions{})
	require.NoError(t, err)
	require.Equal(t, []any{"Babbage", "d"}, []any{edge().Source, edge().Properties["description"]})
	_, err = kb.CreateRelation(ctx, "Ada Lovelace", "Babbage", engine.RelationEdit{})
	require.ErrorIs(t, err, engine.ErrExists)
	// A relation follows its ends into a merge.
	_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"Ada Lovelace"}, Into: "Augusta King"})
	require.NoError(t, err)
	g, err = kb.Graph(ctx, engine.GraphRequest{Label: "Augusta King", MaxDepth: 1})
	require.NoError(t, err)
	require.Equal(t, []any{"Babbage", "d"}, []any{g.Edges[0].Source, g.Edges[0].Properties["description"]})
}

func TestEdit_Rename(t *testing.T) {
	v, kb := handful(t)
	dump := v.Dump("k")
	rename := func(from, to string, o engine.EditOptions) (*engine.GraphNode, error) {
		return kb.EditEntity(ctx, from, engine.EntityEdit{Name: &to}, o)
	}
	var f *engine.FieldError
	_, err := rename("Turin", "Torino", engine.EditOptions{})
	require.ErrorAs(t, err, &f)
	require.Equal(t, "allow_rename", f.Field)
	_, err = rename("Turin", "babbage", engine.EditOptions{AllowRename: true})
	require.ErrorIs(t, err, engine.ErrExists)
	n, err := rename("Turin", "Torino", engine.EditOptions{AllowRename: true})
	require.NoError(t, err)
	require.Equal(t, "Torino", n.ID)
	require.Equal(t, n, entityOf(t, kb, "turin"), "the old name is known")
	n, err = rename("Torino", "TORINO", engine.EditOptions{AllowRename: true})
	require.NoError(t, err)
	require.Equal(t, "TORINO", n.ID)
	n, err = rename("Torino", "Turin", engine.EditOptions{AllowRename: true})
	require.NoError(t, err)
	require.Equal(t, "Turin", n.ID, "back to a name that it has")
	v.Add("k", "d", "entity|Turin|place|On the Po.\n")
	v.Wait()
	require.Equal(t, 2, entityOf(t, kb, "torino").Properties["mentions"])
	_, err = kb.Delete(ctx, []string{"d"}, false)
	require.NoError(t, err)
	_, err = rename("Turin", "Ada Lovelace", engine.EditOptions{AllowRename: true, AllowMerge: true})
	require.NoError(t, err)
	require.Equal(t, 2, entityOf(t, kb, "Turin").Properties["mentions"])
	for _, name := range []string{"torino", "turin"} {
		_, err = kb.Unmerge(ctx, engine.UnmergeRequest{Entity: name})
		require.NoError(t, err)
	}
	require.Equal(t, "Turin", entityOf(t, kb, "turin").ID)
	require.NotEqual(t, dump, v.Dump("k"), "how a name is shown is an edit and stays")
}

func TestEdit_Refuses(t *testing.T) {
	v, kb := handful(t)
	create := func(name string, e engine.EntityEdit) error { _, err := kb.CreateEntity(ctx, name, e); return err }
	edit := func(name string, e engine.EntityEdit) error {
		_, err := kb.EditEntity(ctx, name, e, engine.EditOptions{AllowRename: true})
		return err
	}
	relate := func(a, b string, e engine.RelationEdit) error { _, err := kb.CreateRelation(ctx, a, b, e); return err }
	change := func(a, b string, e engine.RelationEdit) error {
		_, err := kb.EditRelation(ctx, a, b, e, engine.EditOptions{})
		return err
	}
	merge := func(into string, names ...string) error {
		_, err := kb.Merge(ctx, engine.MergeRequest{Change: names, Into: into})
		return err
	}
	unmerge := func(q engine.UnmergeRequest) error { _, err := kb.Unmerge(ctx, q); return err }
	long, huge := strings.Repeat("x", 513), strings.Repeat("x", 8193)
	for i, x := range []struct {
		field string
		err   error
	}{
		{"entity_name", create("", engine.EntityEdit{})}, {"entity_name", create(" \"\" ", engine.EntityEdit{})},
		{"entity_name", create(long, engine.EntityEdit{})}, {"entity_name", create("a\nb", engine.EntityEdit{})},
		{"entity_data.entity_type", create("New", engine.EntityEdit{Type: &long})},
		{"entity_data.description", create("New", engine.EntityEdit{Description: &huge})},
		{"entity_data.entity_name", create("New", engine.EntityEdit{Name: ptr("x")})},
		{"updated_data", edit("Turin", engine.EntityEdit{})}, {"updated_data.entity_name", edit("Turin", engine.EntityEdit{Name: ptr("")})},
		{"relation_data.weight", relate("Turin", "Ada Lovelace", engine.RelationEdit{Weight: ptr(0.0)})},
		{"relation_data.weight", relate("Turin", "Ada Lovelace", engine.RelationEdit{Weight: ptr(math.Inf(1))})},
		{"relation_data.keywords", relate("Turin", "Ada Lovelace", engine.RelationEdit{Keywords: &long})},
		{"target_entity", relate("Turin", "turin", engine.RelationEdit{})},
		{"updated_data", change("Turin", "Babbage", engine.RelationEdit{})},
		{"updated_data.description", change("Turin", "Babbage", engine.RelationEdit{Description: &huge})},
		{"entities_to_change", merge("Turin")}, {"entities_to_change", merge("Turin", slices.Repeat([]string{"a"}, 501)...)},
		{"entities_to_change", merge("Turin", "turin")}, {"entity_to_change_into", merge("", "Turin")},
		{"entities_to_change[1]", merge("Turin", "Babbage", "")},
		{"merge_id", unmerge(engine.UnmergeRequest{})}, {"merge_id", unmerge(engine.UnmergeRequest{MergeID: "a", Entity: "b"})},
	} {
		var f *engine.FieldError
		require.ErrorAs(t, x.err, &f, "%d %s", i, x.field)
		require.Equal(t, x.field, f.Field)
	}
	for i, err := range []error{
		edit("Nobody", engine.EntityEdit{Type: ptr("x")}), relate("Turin", "Nobody", engine.RelationEdit{}), relate("Nobody", "Turin", engine.RelationEdit{}),
		change("Turin", "Ada Lovelace", engine.RelationEdit{Weight: ptr(1.0)}), kb.DeleteEntity(ctx, "Nobody", nil), kb.DeleteRelation(ctx, "Turin", "Ada Lovelace", nil),
		merge("Turin", "Nobody"), unmerge(engine.UnmergeRequest{MergeID: "merge_x"}), unmerge(engine.UnmergeRequest{Entity: "Turin"}),
	} {
		require.ErrorIs(t, err, engine.ErrNotFound, "%d", i)
	}
	// At the bound, and over it.
	s := v.Space(enginetest.Tenant, "k", tenancy.PermKBManage)
	require.NoError(t, engine.CountHand(v.Engine, s, engine.MaxAliases-1, engine.MaxEdits-1, 0))
	require.ErrorIs(t, merge("Turin", "Babbage", "Ada Lovelace"), engine.ErrBadInput)
	require.NoError(t, merge("Turin", "Babbage"))
	require.NoError(t, create("New", engine.EntityEdit{}))
	require.ErrorIs(t, create("Newer", engine.EntityEdit{}), engine.ErrBadInput)
	require.NoError(t, engine.CountHand(v.Engine, s, 1-engine.MaxAliases, 1-engine.MaxEdits, engine.MaxHandBytes-1000))
	require.NoError(t, create("Newer", engine.EntityEdit{}))
	require.ErrorIs(t, create("Newest", engine.EntityEdit{Description: ptr(strings.Repeat("x", 1000))}), engine.ErrBadInput)
	require.NoError(t, edit("New", engine.EntityEdit{Type: ptr("x")}))
	require.NoError(t, kb.DeleteEntity(ctx, "Newer", nil), "less is always allowed")
	require.NoError(t, engine.CountHand(v.Engine, s, 0, 0, 1000-engine.MaxHandBytes))
}

// act does something at random to a base by hand. What is refused is fine.
func act(kb *engine.KB, r *rand.Rand, merges *[]string) error {
	name := func() string {
		s := spellings[r.IntN(len(spellings))]
		return s[r.IntN(len(s))]
	}
	text := func() *string {
		if r.IntN(2) == 0 {
			return nil
		}
		return ptr([]string{"", "by hand", "otherwise"}[r.IntN(3)])
	}
	var err error
	switch r.IntN(10) {
	case 0, 1:
		var m *engine.Merged
		if m, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{name(), name()}[:1+r.IntN(2)], Into: append(spellings[r.IntN(len(spellings))], "Somebody")[0]}); err == nil {
			*merges = append(*merges, m.MergeID)
		}
	case 2:
		q := engine.UnmergeRequest{Entity: name()}
		if n := len(*merges); n > 0 && r.IntN(3) > 0 {
			q = engine.UnmergeRequest{MergeID: (*merges)[r.IntN(n)]}
		}
		_, err = kb.Unmerge(ctx, q)
	case 3:
		_, err = kb.CreateEntity(ctx, name(), engine.EntityEdit{Type: text(), Description: text()})
	case 4:
		_, err = kb.EditEntity(ctx, name(), engine.EntityEdit{Type: text(), Description: text()}, engine.EditOptions{})
	case 5:
		_, err = kb.EditEntity(ctx, name(), engine.EntityEdit{Name: ptr([]string{"Torino", "BABBAGE", "Ada K."}[r.IntN(3)])}, engine.EditOptions{AllowRename: true, AllowMerge: r.IntN(2) == 0})
	case 6:
		err = kb.DeleteEntity(ctx, name(), nil)
	case 7:
		_, err = kb.CreateRelation(ctx, name(), name(), engine.RelationEdit{Description: text(), Weight: ptr(float64(1 + r.IntN(3)))})
	case 8:
		_, err = kb.EditRelation(ctx, name(), name(), engine.RelationEdit{Keywords: text(), Description: text(), Weight: ptr(2.0)}, engine.EditOptions{})
	case 9:
		err = kb.DeleteRelation(ctx, name(), name(), nil)
	}
	for _, fine := range []error{engine.ErrNotFound, engine.ErrExists, engine.ErrBadInput} {
		if errors.Is(err, fine) {
			err = nil
		}
	}
	return err
}

// Whatever people do between whatever happens to documents: a copy that followed
// sees what one sees that is read afresh, and both see what a new base sees with
// the same documents, aliases and edits.
func TestEdit_RandomSequences(t *testing.T) {
	for name, o := range embeddings() {
		t.Run(name, func(t *testing.T) {
			o.ChunkTokens, o.ChunkOverlap = 60, 1
			v := enginetest.New(t, o)
			for seed := range uint64(engine.Rounds(6)) {
				r := rand.New(rand.NewPCG(seed, 11))
				known, merges := map[string]string{}, []string{}
				base := fmt.Sprint("k", seed)
				observe(t, v, base)
				for round := range 3 {
					for range 14 {
						id := fmt.Sprint("doc-", r.IntN(6))
						kb := v.KB(base)
						switch text := randomText(r); {
						case r.IntN(2) == 0:
							require.NoError(t, act(kb, r, &merges))
						case known[id] == "":
							v.Add(base, id, text)
							known[id] = text
						case r.IntN(2) == 0:
							_, err := kb.Delete(ctx, []string{id}, false)
							require.NoError(t, err)
							delete(known, id)
						default:
							_, err := kb.Update(ctx, id, engine.DocumentInput{FilePath: id + ".txt", Content: []byte(text)})
							require.NoError(t, err)
							known[id] = text
						}
						if r.IntN(3) == 0 {
							v.Wait()
							observe(t, v, base)
						}
					}
					v.Wait()
					followed := observe(t, v, base)
					v.Restart()
					v.Wait()
					require.Equal(t, observe(t, v, base), followed, "seed %d round %d", seed, round)
				}
				fresh := base + "-fresh"
				for id, text := range known {
					v.Add(fresh, id, text)
				}
				v.KB(fresh)
				require.NoError(t, engine.CopyHand(space(v, base), v.Space(enginetest.Tenant, fresh, tenancy.PermKBManage), 0))
				require.NoError(t, engine.Touch(v.Engine, v.Space(enginetest.Tenant, fresh, tenancy.PermKBManage), "nobody", 1)) // for the profiles
				v.Wait()
				require.Equal(t, v.Dump(fresh), v.Dump(base), "seed %d", seed)
				require.Equal(t, observe(t, v, fresh), observe(t, v, base), "seed %d", seed)
			}
		})
	}
}

// endsAfter is a context that is cancelled when it has been asked n times.
type endsAfter struct {
	context.Context
	n int
}

func (c *endsAfter) Err() error {
	if c.n--; c.n < 0 {
		return context.Canceled
	}
	return c.Context.Err()
}

// A copy that is far behind, or that was stopped while it caught up, comes to the
// same as one that is read afresh.
func TestEdit_CatchingUp(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}})
	r := rand.New(rand.NewPCG(9, 9))
	for i := range 150 {
		text := randomText(r)
		v.Add("a", fmt.Sprint("d", i), text)
		for _, base := range []string{"b", "c", "d"} {
			v.Add(base, fmt.Sprint("d", i), text)
		}
	}
	v.Wait()
	merges := []string{}
	for range 40 {
		require.NoError(t, act(v.KB("a"), r, &merges))
	}
	_, err := v.KB("a").Merge(ctx, engine.MergeRequest{Change: []string{"London"}, Into: "Somewhere"})
	require.NoError(t, err)
	want := observe(t, v, "a")
	for base, n := range map[string]int{"b": 0, "c": engine.MaxTouched + 2000, "d": 0} {
		before := observe(t, v, base)
		require.NotEqual(t, want, before)
		require.NoError(t, engine.CopyHand(space(v, "a"), v.Space(enginetest.Tenant, base, tenancy.PermKBManage), n))
		if base == "d" {
			stops := 0
			for n := 0; ; n++ {
				err := engine.CatchUp(&endsAfter{ctx, n}, v.Engine, space(v, base))
				if err == nil {
					break
				}
				require.ErrorIs(t, err, context.Canceled)
				stops++
			}
			require.Greater(t, stops, 2, "in the middle as well")
		}
		require.Equal(t, want, observe(t, v, base), base)
	}
}

// What people wrote goes before what a model summed up, and neither is for those
// who may see some documents only.
func TestEdit_WinsOverSummary(t *testing.T) {
	chat := summarist()
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Chatter: chat})
	for i := range 8 {
		v.Add("k", fmt.Sprint("d", i), saysOfAda(i))
	}
	v.Wait()
	require.Equal(t, "SUM 8 of Ada.", describe(t, v, "k", ""))
	_, err := v.KB("k").EditEntity(ctx, "Ada", engine.EntityEdit{Description: ptr("By hand.")}, engine.EditOptions{})
	require.NoError(t, err)
	v.Wait()
	require.Equal(t, "By hand.", describe(t, v, "k", ""))
	require.NotContains(t, describe(t, v, "k", `{"doc_ids":["d1","d2"]}`), "hand")
	require.Equal(t, 1, chat.Calls(), "an edit is not summed up")
}

// People and documents at once: whatever comes of it is whole.
func TestEdit_Concurrent(t *testing.T) {
	v := enginetest.New(t, engine.Options{Extractor: &byLines{}, Workers: 2})
	kb := v.KB("k")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 21))
			merges := []string{}
			for range 30 {
				if r.IntN(2) == 0 {
					if err := act(kb, r, &merges); err != nil {
						t.Error(err)
					}
					continue
				}
				id := fmt.Sprint("d", r.IntN(5))
				_, err := kb.Add(ctx, []engine.DocumentInput{{ID: id, Content: []byte(randomText(r))}}, "insert")
				if errors.Is(err, engine.ErrConflict) {
					_, err = kb.Delete(ctx, []string{id}, false)
				}
				if err != nil && !errors.Is(err, engine.ErrNotFound) {
					t.Error(err)
				}
				if _, err := kb.QueryData(ctx, engine.Query{Query: "Who wrote to Babbage?"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	v.Wait()
	followed := observe(t, v, "k")
	v.Restart()
	v.Wait()
	require.Equal(t, observe(t, v, "k"), followed)
}

// Of two who edit what both have looked at, the second is told; what documents say
// meanwhile is nobody's edit.
func TestEdit_IfTag(t *testing.T) {
	v, kb := handful(t)
	tag := func(n *engine.GraphNode) []string { return []string{n.Properties[engine.HandTag].(string)} }
	seen := []string{engine.NoHandTag}
	require.NotContains(t, entityOf(t, kb, "Babbage").Properties, engine.HandTag)
	v.Add("k", "d", "entity|Babbage|person|He sat at a desk.\n")
	v.Wait()
	n, err := kb.EditEntity(ctx, "babbage", engine.EntityEdit{Type: ptr("engineer")}, engine.EditOptions{IfTag: seen})
	require.NoError(t, err)
	_, err = kb.EditEntity(ctx, "Babbage", engine.EntityEdit{Type: ptr("writer")}, engine.EditOptions{IfTag: seen})
	require.ErrorIs(t, err, engine.ErrChanged)
	require.Equal(t, "engineer", entityOf(t, kb, "Babbage").Properties["entity_type"])
	require.Equal(t, tag(n), tag(entityOf(t, kb, "Babbage")))
	_, err = kb.EditEntity(ctx, "Babbage", engine.EntityEdit{Name: ptr("Charles Babbage")}, engine.EditOptions{IfTag: append(seen, tag(n)...), AllowRename: true})
	require.NoError(t, err)
	_, err = kb.EditEntity(ctx, "Charles Babbage", engine.EntityEdit{}, engine.EditOptions{IfTag: seen, Reset: true})
	require.ErrorIs(t, err, engine.ErrChanged)

	e, err := kb.EditRelation(ctx, "Turin", "Babbage", engine.RelationEdit{Weight: ptr(2.0)}, engine.EditOptions{IfTag: seen})
	require.NoError(t, err, "nobody has written anything of it yet, which is a tag too")
	_, err = kb.EditRelation(ctx, "Turin", "Charles Babbage", engine.RelationEdit{Weight: ptr(3.0)}, engine.EditOptions{IfTag: seen})
	require.ErrorIs(t, err, engine.ErrChanged)
	_, err = kb.EditRelation(ctx, "Turin", "Babbage", engine.RelationEdit{Weight: ptr(3.0)}, engine.EditOptions{IfTag: []string{e.Properties[engine.HandTag].(string)}})
	require.NoError(t, err)
	f, err := engine.ParseFilter([]byte(`{"doc_ids":["a"]}`))
	require.NoError(t, err)
	under, err := kb.Entity(ctx, "Babbage", f)
	require.NoError(t, err)
	require.NotContains(t, under.Properties, engine.HandTag, "what people wrote is out of sight")
}

// Of many who change what all have looked at one is first, and the others are told:
// of an entity, of a relation, of a document, by an edit or a deletion.
func TestIfTag_OneIsFirst(t *testing.T) {
	none := []string{engine.NoHandTag}
	for name, act := range map[string]func(kb *engine.KB, tag string, i int) error{
		"entity": func(kb *engine.KB, _ string, i int) error {
			if i == 0 {
				return kb.DeleteEntity(ctx, "Turin", none)
			}
			_, err := kb.EditEntity(ctx, "Turin", engine.EntityEdit{Type: ptr(fmt.Sprint(i))}, engine.EditOptions{IfTag: none})
			return err
		},
		"relation": func(kb *engine.KB, _ string, i int) error {
			if i == 0 {
				return kb.DeleteRelation(ctx, "Ada Lovelace", "Babbage", none)
			}
			_, err := kb.EditRelation(ctx, "Ada Lovelace", "Babbage", engine.RelationEdit{Weight: ptr(float64(i))}, engine.EditOptions{IfTag: none})
			return err
		},
		"document": func(kb *engine.KB, tag string, i int) error {
			if i == 0 {
				_, err := kb.DeleteIf(ctx, "b", []string{tag}, false)
				return err
			}
			_, err := kb.Update(ctx, "b", engine.DocumentInput{Content: []byte(fmt.Sprint("Text ", i)), IfTag: []string{tag}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 { // a deletion between the look and the commit of an edit is rare
				v, kb := handful(t)
				d, err := kb.Document(ctx, "b")
				require.NoError(t, err)
				var wg sync.WaitGroup
				var done atomic.Int64
				for i := range 8 {
					wg.Go(func() {
						err := act(kb, d.Tag, i)
						if err == nil {
							done.Add(1)
						} else if !errors.Is(err, engine.ErrChanged) && !errors.Is(err, engine.ErrNotFound) { // it was deleted
							t.Error(err)
						}
					})
				}
				wg.Wait()
				require.Equal(t, int64(1), done.Load())
				v.Wait()
			}
		})
	}
}

// The list of names is whole and in one order, whatever the size of its pages.
func TestAliases_Pages(t *testing.T) {
	_, kb := handful(t)
	page, err := kb.Aliases(ctx, "", 0)
	require.NoError(t, err)
	require.Equal(t, &engine.AliasesPage{Aliases: []engine.Alias{}}, page)
	m, err := kb.Merge(ctx, engine.MergeRequest{Change: []string{"Augusta King", "Turin"}, Into: "Ada Lovelace"})
	require.NoError(t, err)
	_, err = kb.EditEntity(ctx, "Ada Lovelace", engine.EntityEdit{Name: ptr("Ada King")}, engine.EditOptions{AllowRename: true})
	require.NoError(t, err)
	for limit := 1; limit < 5; limit++ {
		var all []engine.Alias
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			require.Less(t, pages, 4)
			page, err := kb.Aliases(ctx, cursor, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Aliases), limit)
			all, cursor = append(all, page.Aliases...), page.NextCursor
		}
		require.Len(t, all, 3)
		rename := all[0].MergeID
		require.NotEqual(t, m.MergeID, rename)
		require.Equal(t, []engine.Alias{
			{Name: "Ada Lovelace", Into: "Ada King", Entity: "Ada King", Rename: true, MergeID: rename},
			{Name: "Augusta King", Into: "Ada Lovelace", Entity: "Ada King", MergeID: m.MergeID},
			{Name: "Turin", Into: "Ada Lovelace", Entity: "Ada King", MergeID: m.MergeID},
		}, all)
	}
	_, err = kb.Aliases(ctx, "!", 0)
	require.ErrorIs(t, err, engine.ErrBadInput)
}
