package hybrid

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/chat"
	"crayon/internal/testmodel/tinydevice"
)

// What was computed for earlier turns is remembered, and at most so much.
func TestDirectionsAreRemembered(t *testing.T) {
	h := &Hybrid{Device: tinydevice.Open(t)}
	var talk []chat.Message
	for i := range 6 {
		talk = append(talk, chat.Message{Role: "user", Content: fmt.Sprint("turn ", i)}, chat.Message{Role: "assistant", Content: "yes"})
	}
	talk = append(talk, chat.Message{Role: "user", Content: "the last"})
	known := []float32{1, 2, 3}
	h.seen.put(sha256.Sum256([]byte("turn 4")), known)
	earlier, last, err := h.directions(t.Context(), h.Device, talk)
	require.NoError(t, err)
	require.Len(t, earlier, mostEarlier)
	require.Equal(t, known, earlier[1], "the oldest first: turns 3, 4, 5")
	alone, err := h.Device.Direction(t.Context(), "the last")
	require.NoError(t, err)
	require.Equal(t, alone, last)
	require.Len(t, h.seen.of, 4)

	var m memory[int]
	for i := range mostRemembered + 10 {
		m.put(sha256.Sum256(fmt.Append(nil, i)), i)
		m.put(sha256.Sum256(fmt.Append(nil, i)), i)
	}
	require.Len(t, m.of, mostRemembered)
	require.Len(t, m.order, mostRemembered)
	require.NotContains(t, m.of, key(sha256.Sum256(fmt.Append(nil, 9))))
	require.Contains(t, m.of, key(sha256.Sum256(fmt.Append(nil, 10))))
}

// Conversations are told apart by where a message ends.
func TestConversationKey(t *testing.T) {
	a := conversation([]chat.Message{{Role: "user", Content: "ab"}, {Role: "user", Content: "c"}})
	b := conversation([]chat.Message{{Role: "user", Content: "a"}, {Role: "user", Content: "bc"}})
	require.NotEqual(t, a, b)
	require.Equal(t, a, conversation([]chat.Message{{Role: "user", Content: "ab"}, {Role: "user", Content: "c"}}))
}
