package engine_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// configure gives a base settings of its own, as JSON.
func configure(t *testing.T, v *enginetest.Env, kb, config string) {
	t.Helper()
	v.Space(enginetest.Tenant, kb, tenancy.PermKBAccess) // made if it is new
	var c tenancy.KBConfig
	require.NoError(t, json.Unmarshal([]byte(config), &c))
	_, err := v.Store.UpdateKB(ctx, v.Admin, enginetest.Tenant, kb, tenancy.KBUpdate{Config: &c})
	require.NoError(t, err)
}
