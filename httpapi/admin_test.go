package httpapi

import (
	"bytes"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

// A system admin gets a backup, then one of what changed since, encrypted if asked; what
// is asked for wrongly is refused by name before a byte is sent.
func TestAdmin_BackupAndVerify(t *testing.T) {
	h := newHouse(t, Options{})
	h.ok(202, post, acmeMain+"/documents/text", `{"id":"a","text":"Ada Lovelace wrote to Charles Babbage."}`)
	h.Wait()
	taken := func(query string) tenancy.BackupInfo {
		t.Helper()
		w := h.as(h.admin, post, pathBackup+query, "", onceHeader, "0123456789abcdef")
		require.Equal(t, 200, w.Code, w.Body.String())
		require.Equal(t, sealedMedia, w.Header().Get("Content-Type"))
		info, err := tenancy.CheckBackup(bytes.NewReader(w.Body.Bytes()))
		require.NoError(t, err)
		require.Equal(t, info.Encrypted, !bytes.Contains(w.Body.Bytes(), []byte{0x28, 0xb5, 0x2f, 0xfd}), "zstd in the clear")
		return info
	}
	all := taken("")
	require.Equal(t, all.Records, all.Changed)
	h.ok(202, post, acmeMain+"/documents/text", `{"id":"b","text":"Grace Hopper met Alan Turing."}`)
	h.Wait()
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	more := taken("?since=" + all.Next + "&recipient=" + id.Recipient().String())
	require.True(t, more.Encrypted)
	require.Equal(t, all.Next, more.Since)
	require.Less(t, more.Changed, more.Records)

	status := h.ok(200, get, v1+"/admin/status", "")["store"].(map[string]any)
	require.Equal(t, more.Next, status["last_backup"].(map[string]any)["next"])
	require.EqualValues(t, 2, status["tenants"])
	require.EqualValues(t, 0, h.ok(200, post, v1+"/admin/verify", "")["problems"])

	require.EqualValues(t, 2, h.ok(200, post, v1+"/admin/rebuild", "")["documents"])

	for query, field := range map[string]string{"?since=x": "since", "?since=other.1": "since", "?recipient=me": "recipient"} {
		require.Equal(t, field, refused(t, h.as(h.admin, post, pathBackup+query, ""), 400, "INVALID_REQUEST").Details["field"], query)
	}
	owner := h.token(tenancy.TokenRequest{Subject: "owner", Tenant: "acme", Role: tenancy.RoleAdmin})
	for _, line := range [][2]string{{post, pathBackup}, {post, v1 + "/admin/verify"}, {post, v1 + "/admin/rebuild"}, {get, v1 + "/admin/status"}} {
		refused(t, h.as(owner, line[0], line[1], ""), 403, "FORBIDDEN")
	}
}
