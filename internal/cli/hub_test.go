package cli

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// dataHub is a hub with the data set garden/beds: 40 rows to train on.
func dataHub(t *testing.T) string {
	t.Helper()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "{\"text\":\"row %d of the bed\",\"label\":%d}\n", i, i%3)
	}
	rows := b.String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/datasets/garden/beds/revision/main", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": []map[string]any{
			{"rfilename": "data/train-00000.jsonl", "size": len(rows), "lfs": map[string]any{"sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(rows)))}},
			{"rfilename": "README.md", "size": 3},
		}})
	})
	mux.HandleFunc("GET /datasets/garden/beds/resolve/"+commit+"/data/train-00000.jsonl", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(rows))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}
