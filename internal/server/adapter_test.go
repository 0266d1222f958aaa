package server

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAdapterAlone: beside one adapter no customisation is listed or answers.
func TestAdapterAlone(t *testing.T) {
	w := newWorld(t, nil)
	require.Contains(t, w.send("GET", "/v1/models", "").body, base+"+mine")
	w.hybrid.Device.Adapter = "foreign"
	require.NotContains(t, w.send("GET", "/v1/models", "").body, "mine")
	r := w.post(chatPath, ask(base+"+mine", "why", ""))
	require.Equal(t, http.StatusNotFound, r.status)
	message, _, _, code := r.error(t)
	require.Contains(t, message, "there are no customisations")
	require.Equal(t, "model_not_found", code)
	require.Equal(t, http.StatusOK, w.post(chatPath, ask(base, "why", "")).status)
}
