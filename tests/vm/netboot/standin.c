/* In place of wimboot: say on COM2 what arrived, with sizes and CRC-32, then end the machine.
 * BIOS: the archive (cpio newc) that iPXE makes of its initrds; UEFI: the files that iPXE shows. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

static void put(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static u8 get(u16 port) {
	u8 value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static void sign(u8 value) {
	while (!(get(0x2fd) & 0x20)) {
	}
	put(0x2f8, value);
}
static void text(const char *words) {
	while (*words) sign((u8)*words++);
}
static void number(u32 value) {
	char digits[11];
	int at = 10;
	digits[10] = 0;
	do digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	text(digits + at);
}
static u32 crc(u32 sum, const u8 *data, u32 size) {
	for (; size; size--) {
		sum ^= *data++;
		for (int bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ (0xedb88320u & (0u - (sum & 1)));
	}
	return sum;
}
static void row(u32 size, u32 sum) {
	text(" size=");
	number(size);
	text(" crc=");
	number(~sum);
	text("\r\n");
}
static void begin(const char *way) {
	put(0x2f9, 0);
	put(0x2fb, 3);
	text("\r\nstandin way=");
	text(way);
	text("\r\n");
}
static void end(void) {
	text("standin end\r\n");
	for (;;) put(0xf4, 0);
}

#ifdef BIOS
static u32 hex(const u8 *digits) {
	u32 value = 0;
	for (int i = 0; i < 8; i++) {
		u8 digit = digits[i];
		value = value * 16 + (digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10u);
	}
	return value;
}
__attribute__((section(".text.start"))) void start(void) {
	u32 header;
	__asm__ volatile("movl %%esi, %0" : "=r"(header));
	__asm__ volatile("movw $16, %%ax; movw %%ax, %%ds; movw %%ax, %%es; movw %%ax, %%ss;"
			 "movl $0x80000, %%esp; movl %0, %%eax; pushl %%eax; call work" ::"r"(header)
			 : "eax");
	for (;;) {
	}
}
__attribute__((used)) void work(u32 header) {
	const u8 *at = (const u8 *)*(volatile u32 *)(header + 0x218);
	const u8 *last = at + *(volatile u32 *)(header + 0x21c);
	begin("bios");
	while (at + 110 < last) {
		if (at[0] != '0' || at[1] != '7' || at[5] != '1') {
			at += 4;
			continue;
		}
		u32 size = hex(at + 54), length = hex(at + 94);
		text("standin name=");
		text((const char *)at + 110);
		at += (110 + length + 3) & ~3u;
		row(size, crc(~0u, at, size));
		at += size;
		at = (const u8 *)(((u32)at + 3) & ~3u);
	}
	end();
}
#else
#define CALL __attribute__((ms_abi))
struct file {
	u64 revision;
	u64 CALL (*open)(struct file *, struct file **, const u16 *, u64, u64);
	void *close, *delete;
	u64 CALL (*read)(struct file *, u64 *, void *);
};
struct system { /* UEFI specification 2.9, EFI_SYSTEM_TABLE */
	u8 head[24];
	void *vendor;
	u64 revision;
	void *consoles[6];
	void *runtime;
	u8 *boot;
};
static const u8 image_id[16] = {0xa1, 0x31, 0x1b, 0x5b, 0x62, 0x95, 0xd2, 0x11,
				0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b};
static const u8 files_id[16] = {0x22, 0x5b, 0x4e, 0x96, 0x59, 0x64, 0xd2, 0x11,
				0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b};
typedef u64 CALL protocol_of(void *, const void *, void *);
static u8 entry[1024], data[65536];

__attribute__((section(".text.start"))) CALL u64 start(void *image, struct system *table) {
	/* HandleProtocol is the 17th function of the boot services, at byte 24 + 16 * 8 */
	protocol_of *protocol = *(protocol_of **)(table->boot + 152);
	void **loaded = 0;
	struct {
		u64 revision;
		u64 CALL (*open)(void *, struct file **);
	} *volume = 0;
	struct file *root = 0, *one = 0;
	begin("uefi");
	if (protocol(image, image_id, &loaded) || protocol(loaded[3], files_id, &volume) ||
	    volume->open(volume, &root)) {
		text("standin failed\r\n");
		end();
	}
	for (;;) {
		u64 size = sizeof(entry), done;
		u32 sum = ~0u, total = 0;
		if (root->read(root, &size, entry) || !size) break;
		const u16 *name = (const u16 *)(entry + 80); /* EFI_FILE_INFO */
		if (*(u64 *)(entry + 72) & 0x10) continue;
		text("standin name=");
		for (const u16 *letter = name; *letter; letter++) sign((u8)*letter);
		if (root->open(root, &one, name, 1, 0)) continue;
		for (;;) {
			done = sizeof(data);
			if (one->read(one, &done, data) || !done) break;
			sum = crc(sum, data, (u32)done);
			total += (u32)done;
		}
		row(total, sum);
	}
	end();
	return 0;
}
#endif
