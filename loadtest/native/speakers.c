/* speakers.c: talkers that come, speak and are muted. */
#include <stdlib.h>
#include <time.h>

#include "engine.h"

bool traffic_add_frame(struct traffic *traffic, const uint8_t *data, size_t length, uint8_t level, bool silent) {
    traffic_lock(traffic);
    struct frame *frames = realloc(traffic->speech.frames, (traffic->speech.count + 1) * sizeof *frames);
    uint8_t *copy = malloc(length);
    if (frames)
        traffic->speech.frames = frames;
    bool ok = frames && copy && !traffic->speaker_count;
    if (ok) {
        memcpy(copy, data, length);
        frames[traffic->speech.count++] = (struct frame){copy, (uint16_t)length, level, silent};
    } else {
        free(copy);
    }
    traffic_unlock(traffic);
    return ok;
}

int64_t talker_open(struct traffic *traffic, uint32_t position, uint32_t talk_frames, uint32_t pause_frames, bool always, uint32_t slot,
                    bool native) {
    traffic_lock(traffic);
    int64_t index = -1;
    if (traffic->speaker_count < traffic->speaker_room && traffic->speech.count) {
        index = traffic->speaker_count++;
        struct speaker *speaker = &traffic->speakers[index];
        speaker->endpoint = NO_ENDPOINT;
        speaker->talker = (struct talker){
            .used = true,
            .position = position % traffic->speech.count,
            .talk_frames = talk_frames,
            .pause_frames = pause_frames,
            .always = always,
            .spurt = pause_frames ? position % (talk_frames + pause_frames) : 0,
        };
        speaker->slot = slot % SLOTS;
        if (native) {
            speaker->next = traffic->slots[speaker->slot];
            traffic->slots[speaker->slot] = (uint32_t)index;
        }
    }
    traffic_unlock(traffic);
    return index;
}

static struct speaker *open_speaker(struct traffic *traffic, uint32_t index) {
    return index < traffic->speaker_count ? &traffic->speakers[index] : NULL;
}

bool talker_connect(struct traffic *traffic, uint32_t talker, uint32_t endpoint, const struct sending *sending) {
    traffic_lock(traffic);
    struct speaker *speaker = open_speaker(traffic, talker);
    bool ok = speaker && open_endpoint(traffic, endpoint);
    if (ok) {
        speaker->endpoint = endpoint;
        speaker->generation = traffic->endpoints[endpoint].generation;
        speaker->sending = *sending;
        speaker->sending.timestamp -= speaker->talker.timestamp;
        speaker->index = sending->sequence;
    }
    traffic_unlock(traffic);
    return ok;
}

bool talker_set_speaking(struct traffic *traffic, uint32_t talker, bool speaking) {
    traffic_lock(traffic);
    struct speaker *speaker = open_speaker(traffic, talker);
    if (speaker)
        speaker->talker.speaking = speaking;
    traffic_unlock(traffic);
    return speaker != NULL;
}

bool talker_set_flag(struct traffic *traffic, uint32_t talker, uint8_t flag) {
    traffic_lock(traffic);
    struct speaker *speaker = open_speaker(traffic, talker);
    if (speaker)
        speaker->talker.flag = flag;
    traffic_unlock(traffic);
    return speaker != NULL;
}

bool talker_read(struct traffic *traffic, uint32_t talker, struct talker *copy) {
    traffic_lock(traffic);
    struct speaker *speaker = open_speaker(traffic, talker);
    if (speaker)
        *copy = speaker->talker;
    traffic_unlock(traffic);
    return speaker != NULL;
}

size_t talker_utter(struct traffic *traffic, uint32_t talker, uint8_t *out, size_t room, uint8_t *level) {
    size_t length = 0;
    traffic_lock(traffic);
    struct speaker *speaker = open_speaker(traffic, talker);
    struct utterance said;
    if (speaker && talker_next(&speaker->talker, &traffic->speech, &said)) {
        struct stamp stamp = {speaker->talker.flag, traffic->run, talker, talker_count(&speaker->talker), traffic_clock(CLOCK_REALTIME)};
        length = stamp_write(&stamp, said.data, said.length, out, room);
        speaker->talker.sent += length > 0;
        *level = said.level;
    }
    traffic_unlock(traffic);
    return length;
}
