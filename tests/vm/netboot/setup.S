# The head of a Linux kernel image for BIOS (boot protocol 2.03): enter protected mode and jump to
# the code at 1 MiB. Documentation/arch/x86/boot.rst of Linux. %esi points at the header.
	.code16
	.globl _start
_start:
	.org 0x1f1
	.byte 3				# setup_sects
	.org 0x1fe
	.word 0xaa55
	.byte 0xeb, setup - 1f
1:	.ascii "HdrS"
	.word 0x0203
	.org 0x20e
	.word version - 0x200
	.org 0x211
	.byte 1				# LOADED_HIGH
	.org 0x214
	.long 0x100000
	.long 0, 0			# ramdisk_image, ramdisk_size
	.org 0x228
	.long 0
	.long 0xffffffff		# ramdisk_max
	.org 0x240
version:
	.asciz "v9.9.9-standin"
setup:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	movzwl %ax, %esi
	shll $4, %esi
	subl $0x200, %esi		# %cs is 0x20 paragraphs behind the first sector
	movl %esi, %ebx
	addl $gdt, %ebx
	movl %ebx, %eax
	movl %eax, gdtr_base - 0x200
	inb $0x92, %al			# A20
	orb $2, %al
	outb %al, $0x92
	lgdtl gdtr - 0x200
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	.byte 0x66, 0xea		# ljmpl $8, $0x100000
	.long 0x100000
	.word 8
	.balign 8
gdt:	.quad 0
	.quad 0x00cf9a000000ffff
	.quad 0x00cf92000000ffff
gdtr:	.word 23
gdtr_base:
	.long 0
	.org 0x800
