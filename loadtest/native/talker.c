#include "talker.h"

#include "stamp.h"

/* An Opus packet with a TOC and no frame: the decoder makes comfort noise (RFC 6716 3.2.1; libopus sends the like with DTX). SILK
 * wideband, 20 ms. */
static const uint8_t NOTHING[1] = {9 << 3};

static bool is_pause(struct talker *talker) {
    if (talker->flag == STAMP_MUTED)
        return true;
    if (!talker->pause_frames)
        return false;
    bool pause = talker->spurt >= talker->talk_frames;
    if (++talker->spurt >= talker->talk_frames + talker->pause_frames)
        talker->spurt = 0;
    return pause;
}

bool talker_next(struct talker *talker, const struct speech *speech, struct utterance *out) {
    const struct frame *frame = &speech->frames[talker->position];
    talker->timestamp += FRAME_TICKS;
    bool pause = is_pause(talker);
    if (!pause)
        talker->position = (talker->position + 1) % speech->count;
    /* While it is unclear whether the server forwards, every frame goes, so that the moment can be told. */
    if (talker->flag == STAMP_UNSURE || (!pause && (talker->always || !frame->silent))) {
        *out = (struct utterance){frame->data, frame->length, frame->level, talker->quiet > 0};
        talker->quiet = 0;
        return true;
    }
    if (talker->quiet++ % COMFORT_FRAMES != 0)
        return false;
    *out = (struct utterance){NOTHING, sizeof NOTHING, LEVEL_SILENT, false};
    return true;
}

uint32_t talker_count(struct talker *talker) {
    if (talker->flag == STAMP_COUNTED)
        talker->sequence++;
    return talker->sequence;
}
