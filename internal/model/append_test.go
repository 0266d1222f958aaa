package model

import (
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/gguf"
	"crayon/internal/testmodel/tiny"
)

// A cache put together from copied blocks goes on as the one they are from, bit
// for bit, whatever was computed in which pass, and the copies are its own.
func TestAppendedCachesGoOn(t *testing.T) {
	m := open(t, tiny.Qwen2(), gguf.Q8_0)
	ids := tokens(1, 150, m.Config.Vocab)
	from := m.NewCache(0)
	all(t, m, nil, []Input{{Cache: from, Tokens: ids[:70]}})
	for _, id := range ids[70:100] {
		all(t, m, nil, []Input{{Cache: from, Tokens: []int32{id}}})
	}
	first, rest := m.NewCache(0), m.NewCache(Block)
	first.Append(from, 0, Block)
	rest.Append(from, 2*Block, 3*Block)
	require.Positive(t, rest.Bytes())
	whole := m.NewCache(5)
	whole.Append(first, 0, Block)
	whole.Append(from, Block, 2*Block)
	whole.Append(rest, 0, Block)
	require.Equal(t, 3*Block, whole.Len())
	from.Truncate(0)
	all(t, m, nil, []Input{{Cache: from, Tokens: tokens(2, 120, m.Config.Vocab)}})
	got := all(t, m, nil, []Input{{Cache: whole, Tokens: ids[3*Block:]}})[0]
	require.Equal(t, sequence(t, m, nil, nil, ids)[3*Block:], got)
}
