//go:build !race

#include "textflag.h"

// func matchTags(p Ptr, query uint64) uint64
//
// The tag fields of the bucket's eight words are gathered as two vectors of four 32-bit lanes each and compared at once.
// Only SSE2 is used, which every amd64 has. A 16-byte load is not one atomic load, but its 8-byte halves are.
TEXT ·matchTags(SB), NOSPLIT, $0-24
	MOVQ   p+0(FP), AX
	MOVQ   query+8(FP), X4
	MOVOU  (AX), X0
	MOVOU  16(AX), X1
	MOVOU  32(AX), X2
	MOVOU  48(AX), X3
	PSHUFD $0, X4, X4
	SHUFPS $0xDD, X1, X0 // upper halves of words 0 to 3
	SHUFPS $0xDD, X3, X2 // upper halves of words 4 to 7
	PSLLL  $1, X0        // drop the tentative bit
	PSLLL  $1, X2
	PSRLL  $14, X0       // drop the address bits: the tag fields
	PSRLL  $14, X2
	MOVO   X4, X5
	PXOR   X0, X4        // d := query ^ tag
	PXOR   X2, X5
	PXOR   X6, X6
	PXOR   X7, X7
	PSUBL  X4, X6        // -d
	PSUBL  X5, X7
	PAND   X4, X6        // the lowest bit of d
	PAND   X5, X7
	PADDL  X6, X6
	PADDL  X7, X7
	PCMPGTL X0, X6       // 2*(d & -d) > tag
	PCMPGTL X2, X7
	PACKSSLW X7, X6
	PACKSSWB X6, X6
	PMOVMSKB X6, AX
	ANDL   $0x7f, AX     // the eighth word is the link
	MOVQ   AX, ret+16(FP)
	RET
