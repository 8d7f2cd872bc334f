// Pictures that others chose, as addresses that an element can show. They never become anything but an image.

import { SvelteMap } from "svelte/reactivity";
import { act } from "./device/device";

/** Pictures that are held at a time: 16 KiB each at most. */
const HELD_MAX = 512;

const shown = new SvelteMap<string, string>();
const asked = new Set<string>();

/** The kinds that the core lets through, by their first bytes. */
function kind(bytes: Uint8Array): string | null {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return "image/jpeg";
  if (bytes[0] === 0x89 && bytes[1] === 0x50) return "image/png";
  if (bytes[0] === 0x52 && bytes[8] === 0x57) return "image/webp";
  return null;
}

async function fetch(key: string, of: string, many: boolean) {
  const bytes = await act<Uint8Array | undefined>(many ? "aboutPicture" : "pictureOf", of).catch(() => undefined);
  const type = bytes && kind(bytes);
  if (!bytes || !type) return;
  if (shown.size >= HELD_MAX) {
    for (const url of shown.values()) URL.revokeObjectURL(url);
    shown.clear();
    asked.clear();
  }
  shown.set(key, URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>], { type })));
}

/** The address of a picture by its name; `null` until it is there, and for none. */
export function picture(of: string, name: string | null, many: boolean): string | null {
  if (!name) return null;
  const key = `${of} ${name}`;
  if (!asked.has(key)) {
    asked.add(key);
    void fetch(key, of, many);
  }
  return shown.get(key) ?? null;
}

/** Longest side of a picture, points, and its quality, best first: the first that fits a message is taken. */
const SIZES = [256, 192, 128, 96, 64];
const QUALITIES = [0.85, 0.7, 0.55, 0.4];
/** `PICTURE_BYTES_MAX` of the protocol. */
const BYTES_MAX = 16 * 1024;

/** A file as a picture that fits a message, drawn anew: nothing of what a camera wrote beside it is left. */
export async function fitting(file: File): Promise<Uint8Array | null> {
  const image = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  if (!image) return null;
  const side = Math.min(image.width, image.height);
  for (const size of SIZES) {
    const canvas = new OffscreenCanvas(size, size);
    const context = canvas.getContext("2d");
    if (!context) return null;
    context.fillStyle = "white";
    context.fillRect(0, 0, size, size);
    context.drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, size, size);
    for (const quality of QUALITIES) {
      const blob = await canvas.convertToBlob({ type: "image/jpeg", quality });
      if (blob.size <= BYTES_MAX) return new Uint8Array(await blob.arrayBuffer());
    }
  }
  return null;
}
