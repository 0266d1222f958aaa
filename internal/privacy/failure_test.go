package privacy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDetectorThatPanics is an error, not a text without findings.
func TestDetectorThatPanics(t *testing.T) {
	s := &Scanner{kinds: []string{"a kind without a detector"}}
	found, err := s.Scan([]Part{{Role: "user", Text: "hello"}})
	require.ErrorIs(t, err, ErrScan)
	require.Nil(t, found)
	_, _, err = s.Redact([]Part{{Text: "hello"}})
	require.ErrorIs(t, err, ErrScan)
}
