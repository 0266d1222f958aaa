package hybrid

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"crayon/internal/chat"
	"crayon/internal/device"
)

// key names a conversation, or a question.
type key [sha256.Size]byte

func (k key) String() string { return hex.EncodeToString(k[:]) }

// conversation is the key of messages in their order.
func conversation(messages []chat.Message) key {
	h := sha256.New()
	for _, m := range messages {
		var n [16]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(m.Role)))
		binary.LittleEndian.PutUint64(n[8:], uint64(len(m.Content)))
		h.Write(n[:])
		h.Write([]byte(m.Role))
		h.Write([]byte(m.Content))
	}
	return key(h.Sum(nil))
}

// memory keeps the newest of what was seen: clients send a whole conversation
// each time, and what its earlier turns took is not computed again. The caller
// holds the hybrid's mu.
type memory[V any] struct {
	of    map[key]V
	order []key
}

const mostRemembered = 1024

func (m *memory[V]) put(k key, v V) {
	if m.of == nil {
		m.of = map[key]V{}
	}
	if _, ok := m.of[k]; !ok {
		if len(m.order) >= mostRemembered {
			delete(m.of, m.order[0])
			m.order = append(m.order[:0], m.order[1:]...)
		}
		m.order = append(m.order, k)
	}
	m.of[k] = v
}

// mostEarlier is how many earlier turns of the user count.
const mostEarlier = 3

// directions are the features of the last turns of the user before the query,
// the oldest first, and of the query; only what is not remembered is computed.
func (h *Hybrid) directions(ctx context.Context, on *device.Device, messages []chat.Message) (earlier [][]float32, last []float32, err error) {
	var texts []string
	for i := len(messages) - 1; i >= 0 && len(texts) <= mostEarlier; i-- {
		if m := messages[i]; m.Role == "user" && (m.Content != "" || i == len(messages)-1) {
			texts = append(texts, m.Content)
		}
	}
	all := make([][]float32, len(texts))
	id := func(text string) key {
		if on.Elsewhere() { // another pool's features
			text = on.Pool.HeadDigest() + "\x00" + text
		}
		return sha256.Sum256([]byte(text))
	}
	var missing []string
	var at []int
	h.mu.Lock()
	for i, t := range texts {
		if d, ok := h.seen.of[id(t)]; ok {
			all[i] = d
			continue
		}
		missing, at = append(missing, t), append(at, i)
	}
	h.mu.Unlock()
	if len(missing) > 0 {
		made, err := on.Directions(ctx, missing)
		if err != nil {
			return nil, nil, err
		}
		h.mu.Lock()
		for k, i := range at {
			all[i] = made[k]
			h.seen.put(id(missing[k]), made[k])
		}
		h.mu.Unlock()
	}
	for i := len(all) - 1; i > 0; i-- {
		earlier = append(earlier, all[i])
	}
	return earlier, all[0], nil
}
