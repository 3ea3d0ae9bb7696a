//go:build !race

#include "textflag.h"
#include "go_asm.h"

// FindTag is told in findtag_amd64.go. A tag field t has its leading one above the bits that it knows; the query q has it
// one place higher than any t. With d := q ^ t, the lowest bit that differs lies at or above the leading one of t exactly
// if d ^ (d-1), all ones up to that bit, is not below t (word.Query.Matches). A slot without a tag (free or frozen) and a
// catch-all have t <= 1 and are left out.

// func FindTag(b *Buckets, h uint64) (slot Ptr, entry uint64)
TEXT ·FindTag(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ b+0(FP), BX
	MOVQ h+8(FP), AX
	MOVQ Buckets_Bits(BX), CX
	MOVQ AX, DX
	ANDQ Buckets_Mask(BX), DX
	SHLQ $6, DX
	ADDQ Buckets_Base(BX), DX // the bucket
	SHRQ CX, AX
	ANDL $0x1ffff, AX
	ORL  $0x40000, AX         // q
	CMPB ·wide(SB), $0
	JEQ  narrow

	// AVX-512: the bucket is one vector, whose load is one access to one aligned cache line. The entry is taken out of
	// it. Registers from 16 up leave nothing to clean for SSE.
	VMOVDQU64    (DX), Z16
	VPBROADCASTQ AX, Z18
	VPSLLQ       $1, Z16, Z17               // drop the tentative bit
	VPSRLQ       $46, Z17, Z17              // drop the address bits: t
	VPXORQ       Z17, Z18, Z18              // d
	VPTERNLOGD   $0xff, Z19, Z19, Z19       // -1
	VPADDQ       Z19, Z18, Z19
	VPXORQ       Z19, Z18, Z18              // d ^ (d-1)
	VPCMPUQ      $5, Z17, Z18, K1           // not below t
	VPCMPUQ.BCST $6, one<>(SB), Z17, K1, K1 // and t > 1
	KMOVB        K1, CX
	VPCOMPRESSQ  Z16, K1, Z19               // the first that matches comes first
	ANDL         $0x7f, CX                  // the eighth word is the link
	JEQ          none
	VMOVQ        X19, BX
	BSFL         CX, CX
	TESTQ        BX, BX
	JMI          none                       // tentative
	LEAQ         (DX)(CX*8), DX
	MOVQ         DX, slot+16(FP)
	MOVQ         BX, entry+24(FP)
	RET

narrow:
	// SSE2, which every amd64 has. The tag fields of the eight words are gathered in two vectors of four 32-bit lanes
	// each. A 16-byte load is not one atomic load, but its 8-byte halves are. The slot is read again at the end: it may
	// have changed.
	MOVQ     AX, X4
	MOVOU    (DX), X0
	MOVOU    16(DX), X1
	MOVOU    32(DX), X2
	MOVOU    48(DX), X3
	PSHUFD   $0, X4, X4
	SHUFPS   $0xDD, X1, X0 // upper halves of words 0 to 3
	SHUFPS   $0xDD, X3, X2 // upper halves of words 4 to 7
	PSLLL    $1, X0        // drop the tentative bit
	PSLLL    $1, X2
	PSRLL    $14, X0       // drop the address bits: t
	PSRLL    $14, X2
	MOVO     X4, X5
	PXOR     X0, X4        // d
	PXOR     X2, X5
	PCMPEQL  X6, X6        // -1
	MOVO     X6, X7
	MOVO     X6, X3
	PSRLL    $31, X3       // 1
	PADDL    X4, X6
	PADDL    X5, X7
	PXOR     X4, X6        // d ^ (d-1)
	PXOR     X5, X7
	MOVO     X0, X1
	MOVO     X2, X5
	PCMPGTL  X6, X1        // t > d ^ (d-1): differs
	PCMPGTL  X7, X5
	PCMPGTL  X3, X0        // t > 1
	PCMPGTL  X3, X2
	PANDN    X0, X1
	PANDN    X2, X5
	PACKSSLW X5, X1
	PACKSSWB X1, X1
	PMOVMSKB X1, CX
	ANDL     $0x7f, CX     // the eighth word is the link
	JEQ      none
	BSFL     CX, CX
	LEAQ     (DX)(CX*8), DX
	MOVQ     (DX), BX
	TESTQ    BX, BX
	JMI      none          // tentative
	MOVQ     BX, CX
	SHRQ     $45, CX       // t
	XORL     CX, AX
	LEAL     -1(AX), SI
	XORL     AX, SI
	CMPL     SI, CX
	JCS      none
	CMPL     CX, $1
	JLS      none
	MOVQ     DX, slot+16(FP)
	MOVQ     BX, entry+24(FP)
	RET

none:
	MOVQ $0, slot+16(FP)
	MOVQ $0, entry+24(FP)
	RET

DATA one<>(SB)/8, $1
GLOBL one<>(SB), RODATA|NOPTR, $8

// func findTags(b *Buckets, ring *Ring, hashes *uint64, n int, next *uint64, nextN int, entries *uint64)
//
// FindTag in AVX-512 for many hashes. See there.
TEXT ·findTags(SB), NOSPLIT|NOFRAME, $0-56
	MOVQ         b+0(FP), BX
	MOVQ         Buckets_Bits(BX), CX
	MOVQ         Buckets_Mask(BX), R8
	MOVQ         Buckets_Base(BX), R9
	MOVQ         ring+8(FP), BX
	MOVQ         Ring_Base(BX), R13
	MOVQ         Ring_Mask(BX), BX
	MOVQ         hashes+16(FP), SI
	MOVQ         n+24(FP), R10
	MOVQ         next+32(FP), DI
	MOVQ         nextN+40(FP), R11
	MOVQ         entries+48(FP), R12
	VPTERNLOGD   $0xff, Z19, Z19, Z19 // -1
	VPBROADCASTQ one<>(SB), Z20
	XORL         R15, R15

loop:
	CMPQ R15, R10
	JGE  done
	CMPQ R15, R11
	JGE  seek
	MOVQ (DI)(R15*8), AX
	ANDQ R8, AX
	SHLQ $6, AX
	PREFETCHT0 (R9)(AX*1) // a bucket that will be looked at next time

seek:
	MOVQ          (SI)(R15*8), AX
	MOVQ          AX, DX
	ANDQ          R8, DX
	SHLQ          $6, DX
	SHRQ          CX, AX
	ANDL          $0x1ffff, AX
	ORL           $0x40000, AX           // q
	VMOVDQU64     (R9)(DX*1), Z16
	VPBROADCASTQ  AX, Z18
	VPSLLQ        $1, Z16, Z17           // drop the tentative bit
	VPSRLQ        $46, Z17, Z17          // drop the address bits: t
	VPXORQ        Z17, Z18, Z18          // d
	VPADDQ        Z19, Z18, Z21
	VPXORQ        Z21, Z18, Z18          // d ^ (d-1)
	VPCMPUQ       $5, Z17, Z18, K1       // not below t
	VPCMPUQ       $6, Z20, Z17, K1, K1   // and t > 1
	KMOVB         K1, AX
	ANDL          $0x7f, AX              // the eighth word is the link
	KMOVB         AX, K1
	VPCOMPRESSQ.Z Z16, K1, Z21           // the first that matches, 0 if there is none
	VMOVQ         X21, DX
	MOVQ          DX, AX
	SARQ          $63, AX
	NOTQ          AX
	ANDQ          AX, DX                 // 0 if it is tentative
	MOVQ          DX, (R12)(R15*8)
	SHLQ          $19, DX
	SHRQ          $16, DX                // the address
	ANDQ          BX, DX
	PREFETCHT0    (R13)(DX*1)
	INCQ          R15
	JMP           loop

done:
	RET
